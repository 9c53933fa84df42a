//! Virtual machines: one QEMU each, watched until it ends.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::console::Console;
use crate::arch::{self, IMAGE, QEMU, QEMU_MACHINE, QEMU_PACKAGE};
use crate::exit::Failure;
use crate::lab::wire::ship::PORT;
use crate::lab::witness;

/// How often the console is looked at.
const POLL: Duration = Duration::from_millis(20);

/// From the first sign of a panic to the kill: the rest of its message.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a VM did not end well.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The kernel died; this line says so.
    #[error("the kernel died: {line}\n--- last lines of the console:\n{console}")]
    Died { line: String, console: String },
    /// Nothing has happened for too long, or it took too long in all.
    #[error("{why}\n--- last lines of the console:\n{console}")]
    Hung { why: String, console: String },
    #[error("interrupted")]
    Interrupted,
    /// QEMU, or the machine that it runs on.
    #[error("{0}")]
    Machine(String),
}

/// An accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    Kvm,
    Tcg,
}

impl Accel {
    /// As QEMU and the run file have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// A VM to be.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    pub kernel: &'a Path,
    pub initrd: Option<&'a Path>,
    /// Disks: none is written to.
    pub disks: &'a [&'a Path],
    /// Kernel command line.
    pub cmdline: &'a str,
    pub cpus: u32,
    /// Memory of the VM, bytes.
    pub memory: u64,
    /// The file that is its memory, where that is to outlive the VM as it does a reset.
    pub memory_file: Option<&'a Path>,
    pub accel: Accel,
    /// Emulate all CPUs in one thread, in turns.
    pub one_thread: bool,
    /// Count instructions instead of time, on one CPU: the same course for the same
    /// seed, which this is.
    pub counted: Option<u32>,
    /// Where the serial console goes.
    pub console: &'a Path,
    /// Where the guest's tar stream goes.
    pub output: &'a Path,
    /// Where QEMU logs what the witness hears.
    pub heard: &'a Path,
}

/// Fails if there is no QEMU.
pub fn check_installed() -> Result<()> {
    let version = Command::new(QEMU)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::environment(format!(
            "{QEMU} is not installed; install it (Debian: {QEMU_PACKAGE})"
        )),
        _ => Failure::environment(format!("{QEMU}: {error}")),
    })
}

/// Fails if the file is no kernel that QEMU and kexec can load.
pub fn check_image(path: &Path) -> Result<()> {
    let image = path.display();
    match File::open(path).and_then(|file| arch::is_image(&file)) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(Failure::bad_input(format!("kernel image {image}: {error}")))
        }
        _ => Err(Failure::bad_input(format!("{image} is not {IMAGE}"))),
    }
}

/// A running VM. Dropping it ends it.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    status: Option<std::process::ExitStatus>,
    console: Console,
    output: PathBuf,
    stderr: File,
    interrupted: Arc<AtomicBool>,
}

impl Vm {
    /// Starts QEMU. The VM is given up once `interrupted` is set.
    pub fn start(machine: &Machine<'_>, interrupted: &Arc<AtomicBool>) -> Result<Self, VmError> {
        Self::spawn(machine, interrupted).map_err(|error| VmError::Machine(format!("{error:#}")))
    }

    fn spawn(machine: &Machine<'_>, interrupted: &Arc<AtomicBool>) -> Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        create(machine.console)?;
        create(machine.output)?;
        let stderr = tempfile::tempfile().context(QEMU)?;
        // By way of this program, which ties QEMU's life to ours before it becomes QEMU.
        let own = std::process::id().to_string();
        let child = Command::new("/proc/self/exe")
            .args(["lab-agent", "tied", &own, QEMU, "--"])
            .args(arguments(machine))
            .stdin(Stdio::null())
            .stdout(stderr.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .context(QEMU)?;
        Ok(Self {
            child,
            status: None,
            console: Console::open(machine.console).context("console")?,
            output: machine.output.to_owned(),
            stderr,
            interrupted: Arc::clone(interrupted),
        })
    }

    /// Waits until the VM has powered off. Returns the end of its console.
    ///
    /// It is given up after `total`, or `idle` without a byte on console or output. `tell` hears how
    /// far it is.
    pub fn wait(
        mut self,
        total: Duration,
        idle: Duration,
        tell: &dyn Fn(&str),
    ) -> Result<String, VmError> {
        let start = Instant::now();
        let (mut alive, mut sent) = (start, 0);
        while !self.ended()? {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(VmError::Interrupted);
            }
            let said = self.poll_console()?;
            if let Some(news) = self.console.news() {
                tell(&news);
            }
            let out = fs::metadata(&self.output).map_or(0, |file| file.len());
            if said || out != sent {
                (alive, sent) = (Instant::now(), out);
            }
            if self.console.fatal().is_some() {
                self.hear_out()?;
                break;
            }
            if alive.elapsed() > idle {
                let why = format!("the VM hangs: no sign of life for {idle:?}");
                return Err(self.hung(why));
            }
            if start.elapsed() > total {
                return Err(self.hung(format!("the VM was not done after {total:?}")));
            }
            thread::sleep(POLL);
        }
        self.verdict()?;
        Ok(self.console.tail())
    }

    /// Waits for the first byte on the console, and ends the VM.
    pub fn first_word(mut self, patience: Duration) -> Result<(), VmError> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if self.poll_console()? {
                return Ok(());
            }
            if self.ended()? {
                return self.verdict();
            }
            thread::sleep(POLL);
        }
        Err(self.hung(format!("it said nothing for {patience:?}")))
    }

    fn hung(&self, why: String) -> VmError {
        let console = self.console.tail();
        VmError::Hung { why, console }
    }

    /// Lets a dying kernel finish its message.
    fn hear_out(&mut self) -> Result<(), VmError> {
        let start = Instant::now();
        while start.elapsed() < LAST_WORDS && !self.ended()? {
            self.poll_console()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// What the console and QEMU's exit say about how it ended.
    fn verdict(&mut self) -> Result<(), VmError> {
        self.poll_console()?;
        // A terminal sends its ^C to QEMU too, which then ends in good order.
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(VmError::Interrupted);
        }
        if let Some(line) = self.console.fatal() {
            return Err(VmError::Died {
                line: line.to_owned(),
                console: self.console.tail(),
            });
        }
        match self.status {
            Some(status) if !status.success() => {
                let mut stderr = String::new();
                let _ = self.stderr.rewind();
                let _ = self.stderr.read_to_string(&mut stderr);
                // The first line is the cause, the others what came of it.
                let cause = stderr.lines().next().unwrap_or_default();
                let why = format!("{QEMU} failed ({status}): {cause}");
                Err(VmError::Machine(why))
            }
            _ => Ok(()),
        }
    }

    fn ended(&mut self) -> Result<bool, VmError> {
        if self.status.is_none() {
            let status = self.child.try_wait();
            self.status = status.map_err(|error| VmError::Machine(format!("{QEMU}: {error}")))?;
        }
        Ok(self.status.is_some())
    }

    fn poll_console(&mut self) -> Result<bool, VmError> {
        let new = self.console.poll();
        new.map_err(|error| VmError::Machine(format!("console: {error}")))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Either may fail only because QEMU has just ended.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A chardev that ends in a file; QEMU's option lists take a comma in a value doubled.
fn to_file(id: &str, path: &Path) -> String {
    let path = path.display().to_string().replace(',', ",,");
    format!("file,id={id},path={path}")
}

fn arguments(machine: &Machine<'_>) -> Vec<String> {
    let (accel, cpus) = match (machine.accel, machine.counted) {
        (Accel::Kvm, _) => ("kvm", machine.cpus),
        (Accel::Tcg, None) if machine.one_thread => ("tcg,thread=single", machine.cpus),
        (Accel::Tcg, None) => ("tcg", machine.cpus),
        (Accel::Tcg, Some(_)) => ("tcg,thread=single", 1),
    };
    // Without ioeventfd a write to a port is handled at once, in the thread of the CPU
    // that writes. The witness needs that, and where instructions are counted the answer
    // must not come at an instruction that the host's scheduler picks.
    // The seed is RDRAND's, which the guest's hashes and layouts hang on.
    let counting = machine.counted.map_or_else(String::new, |seed| {
        format!(" -icount shift=1,sleep=off -rtc base=2026-01-01,clock=vm -seed {seed}")
    });
    let options = format!(
        "-nodefaults -no-user-config -no-reboot -display none -vga none -machine {QEMU_MACHINE} \
         -accel {accel} -cpu max -smp {cpus} -m {}k -serial chardev:console \
         -chardev file,id=witness,path=/dev/null -device virtio-serial-pci,ioeventfd=off \
         -device virtserialport,nr=1,chardev=output,name={PORT} \
         -device virtserialport,nr={},chardev=witness,name={} -trace {} -msg timestamp=on{counting}",
        machine.memory >> 10,
        witness::PORT_NUMBER,
        witness::PORT,
        witness::EVENT,
    );
    let show = |path: &Path| path.display().to_string();
    let named = [
        ("-chardev", to_file("console", machine.console)),
        ("-chardev", to_file("output", machine.output)),
        ("-D", show(machine.heard)),
        ("-append", machine.cmdline.to_owned()),
        ("-kernel", show(machine.kernel)),
    ];
    let memory = machine.memory_file.map(|path| {
        let path = show(path).replace(',', ",,");
        let size = machine.memory >> 10;
        let backend =
            format!("memory-backend-file,id=memory,size={size}k,share=on,mem-path={path}");
        ["-object", &backend, "-machine", "memory-backend=memory"].map(str::to_owned)
    });
    let initrd = machine.initrd.map(|path| ("-initrd", show(path)));
    let disks = machine.disks.iter().map(|path| {
        let path = show(path).replace(',', ",,");
        // What is written goes to a temporary file of QEMU's.
        let drive = format!("if=virtio,format=raw,snapshot=on,file={path}");
        ("-drive", drive)
    });
    let named = named.into_iter().chain(initrd).chain(disks);
    options
        .split(' ')
        .map(str::to_owned)
        .chain(named.flat_map(|(option, value)| [option.to_owned(), value]))
        .chain(memory.into_iter().flatten())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmlinux");
        let text = |error: Result<()>| error.unwrap_err().to_string();
        assert!(text(check_image(&path)).contains("vmlinux: No such file"));
        fs::write(&path, b"\x7fELF").unwrap();
        assert!(text(check_image(&path)).ends_with("is not an x86 kernel image (bzImage)"));
        fs::write(&path, [0; 4096]).unwrap();
        assert!(text(check_image(&path)).ends_with("is not an x86 kernel image (bzImage)"));
        let mut image = crate::lab::host::image::tests::smallest();
        fs::write(&path, &image).unwrap();
        assert!(check_image(&path).is_ok());
        // The right magic is not enough: cut short, or of garbage, it would only hang.
        fs::write(&path, &image[..4000]).unwrap();
        assert!(check_image(&path).is_err());
        image[..0x202].fill(0x5a);
        fs::write(&path, &image).unwrap();
        assert!(check_image(&path).is_err());
    }

    #[test]
    fn a_comma_in_a_path_is_not_an_option() {
        let (kernel, console) = (Path::new("k"), Path::new("/tmp/a,b/console"));
        let machine = Machine {
            kernel,
            initrd: None,
            disks: &[],
            cmdline: "quiet",
            cpus: 2,
            memory: 1 << 30,
            memory_file: None,
            accel: Accel::Tcg,
            one_thread: false,
            counted: Some(7),
            console,
            output: Path::new("/o"),
            heard: Path::new("/h"),
        };
        let arguments = arguments(&machine);
        assert!(arguments.contains(&"file,id=console,path=/tmp/a,,b/console".to_owned()));
        assert!(arguments.contains(&"1048576k".to_owned()));
        // Instruction counting is exact with one CPU only.
        let smp = arguments.iter().position(|a| a == "-smp").unwrap();
        assert_eq!(arguments[smp + 1], "1");
        // Nothing may come from the host's chance or scheduler.
        let seed = arguments.iter().position(|a| a == "-seed").unwrap();
        assert_eq!(arguments[seed + 1], "7");
        assert!(arguments.contains(&"virtio-serial-pci,ioeventfd=off".to_owned()));
    }
}
