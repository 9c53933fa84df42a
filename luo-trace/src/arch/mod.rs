//! What differs between architectures: the counter, CPU facts and the boot image, in
//! one file each. A new one is a file and a line here; whatever it
//! lacks does not compile.

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod this;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod this;

pub use this::{
    ADJUST, CONSOLE, COUNTER, COUNTER_KIND, IMAGE, QEMU, QEMU_MACHINE, QEMU_PACKAGE, TRACE_CLOCK,
    counter_adjust, counter_is_invariant, cpu_model, detected_hz, handoff, hypervisor,
    image_memory, image_version, is_clocksource, is_image, read_counter, refined_hz,
};

/// The clock of a boot trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each architecture has one of them")]
pub enum TraceClock {
    /// The counter itself, under this name.
    Counter(&'static str),
    /// `CLOCK_BOOTTIME`, where no trace clock is the counter.
    Boot,
}

impl TraceClock {
    /// As `trace_clock=` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter(name) => name,
            Self::Boot => "boot",
        }
    }
}

/// Value of the first `key : value` line of `/proc/cpuinfo` and its like.
pub fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_advances() {
        let first = read_counter();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(read_counter() > first);
    }

    #[test]
    fn fields_are_found_whatever_the_padding() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nMemTotal:   2048 kB\n";
        assert_eq!(field(text, "model name"), Some("A CPU: fast"));
        assert_eq!(field(text, "MemTotal"), Some("2048 kB"));
        assert_eq!(field(text, "absent"), None);
    }
}
