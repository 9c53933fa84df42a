//! What a virtual machine monitor calls the machine that it runs, by its command line.

use std::fs;

/// What a process that runs a virtual machine says of it: the name that it was started with,
/// else its task name; nothing where the process is gone.
///
/// Options are those of QEMU (`-name`, with `guest=` or without, and `-uuid`), of Firecracker
/// (`--id`) and of crosvm (`--name`).
#[must_use]
pub fn name_of(pid: u32) -> Option<String> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = cmdline.split(|byte| *byte == 0);
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let task = || fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    told(&words).or_else(|| Some(task()?.trim_end().to_owned()))
}

/// The name in a command line.
fn told(words: &[&str]) -> Option<String> {
    /// Longest name that is kept, characters.
    const LONGEST: usize = 64;
    let value = |option: &str| {
        let at = words.iter().position(|word| *word == option);
        let next = at.and_then(|at| words.get(at + 1).copied());
        let joined = |word: &&str| word.strip_prefix(option)?.strip_prefix('=').map(str::len);
        next.or_else(|| {
            let word = words.iter().copied().find(|word| joined(word).is_some())?;
            Some(&word[option.len() + 1..])
        })
    };
    let name = ["-name", "--name", "--id", "-uuid"]
        .into_iter()
        .find_map(value)?;
    let parts = || name.split(',');
    let guest = parts().find_map(|part| part.strip_prefix("guest="));
    let plain = guest
        .or_else(|| parts().next())
        .filter(|name| !name.is_empty())?;
    Some(plain.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_a_machine_was_started_with() {
        for (line, name) in [
            (
                "qemu-system-x86_64 -name guest=web-1,debug-threads=on -m 4G",
                Some("web-1"),
            ),
            ("qemu-system-x86_64 -name web-2,process=q", Some("web-2")),
            ("firecracker --id vm3 --api-sock /x", Some("vm3")),
            ("crosvm run --name=vm4 vmlinux", Some("vm4")),
            ("cloud-hypervisor --memory size=1G", None),
            ("qemu-system-x86_64 -name", None),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(told(&words).as_deref(), name, "{line}");
        }
    }

    #[test]
    fn without_one_it_is_the_task() {
        assert!(name_of(std::process::id()).is_some());
        assert_eq!(name_of(u32::MAX), None);
    }
}
