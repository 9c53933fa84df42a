//! Virtual machines: one QEMU each, watched until it ends.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::console::Console;
use super::serial;
use crate::arch::{self, IMAGE, QEMU, QEMU_MACHINE, QEMU_PACKAGE};
use crate::lab::wire::ship::PORT;
use crate::lab::witness;

/// How often the console is looked at.
const POLL: Duration = Duration::from_millis(20);

/// From the first sign of a panic to the kill: the rest of its message.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a VM did not end well.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// QEMU is not there.
    #[error("{QEMU} is not installed; install it (Debian: {QEMU_PACKAGE})")]
    NoQemu,
    /// The kernel image cannot be read.
    #[error("kernel image {}: {source}", path.display())]
    Kernel {
        /// The image.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel image is something else.
    #[error("{} is not {IMAGE}", path.display())]
    NotAKernel {
        /// The image.
        path: PathBuf,
    },
    /// KVM was asked for by name.
    #[error("KVM cannot run the kernel here: {why}; use --accel tcg")]
    NoKvm {
        /// What the trial showed.
        why: String,
    },
    /// QEMU itself failed.
    #[error("{QEMU} failed ({status}): {stderr}")]
    Failed {
        /// Its exit status.
        status: String,
        /// What it said.
        stderr: String,
    },
    /// The kernel died.
    #[error("the kernel died: {line}\n--- last lines of the console:\n{console}")]
    Panic {
        /// The line that says so.
        line: String,
        /// The end of the console.
        console: String,
    },
    /// Nothing has happened for too long.
    #[error(
        "the VM hangs: no sign of life for {idle:?}\n--- last lines of the console:\n{console}"
    )]
    Stalled {
        /// For how long.
        idle: Duration,
        /// The end of the console.
        console: String,
    },
    /// It took too long in all.
    #[error("the VM was not done after {timeout:?}\n--- last lines of the console:\n{console}")]
    TimedOut {
        /// How long.
        timeout: Duration,
        /// The end of the console.
        console: String,
    },
    /// SIGINT.
    #[error("interrupted")]
    Interrupted,
    /// A file or process of ours.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        source: io::Error,
    },
}

/// An accelerator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// Hardware virtualisation.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Accel {
    /// As QEMU and the run file have it.
    #[must_use]
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
    /// Kernel image.
    pub kernel: &'a Path,
    /// Initramfs.
    pub initrd: Option<&'a Path>,
    /// Kernel command line.
    pub cmdline: &'a str,
    /// CPUs.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory: u64,
    /// Accelerator.
    pub accel: Accel,
    /// Count instructions instead of time: one CPU, the same course each time.
    pub deterministic: bool,
    /// Emulate all CPUs in one thread, in turns.
    pub one_thread: bool,
    /// What chance hangs on in a deterministic VM: the same course for the same seed.
    pub seed: u32,
    /// Where the serial console goes.
    pub console: &'a Path,
    /// Bits a second that it takes; as fast as it can otherwise.
    pub baud: Option<u32>,
    /// Where the guest's tar stream goes.
    pub output: &'a Path,
    /// Where QEMU logs what the witness hears.
    pub heard: &'a Path,
}

/// When to give a VM up.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// In all.
    pub total: Duration,
    /// Without a byte on the console or the output.
    pub idle: Duration,
}

/// Fails if there is no QEMU.
pub fn check_installed() -> Result<(), QemuError> {
    match Command::new(QEMU)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(QemuError::NoQemu),
        Err(source) => Err(QemuError::Io {
            what: QEMU.to_owned(),
            source,
        }),
    }
}

/// Fails if the file is no kernel that QEMU and kexec can load.
pub fn check_image(path: &Path) -> Result<(), QemuError> {
    let read = File::open(path).and_then(|file| arch::is_image(&file));
    match read {
        Ok(true) => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => Err(QemuError::Kernel {
            path: path.to_owned(),
            source,
        }),
        _ => Err(QemuError::NotAKernel {
            path: path.to_owned(),
        }),
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
    pub fn start(machine: &Machine<'_>, interrupted: &Arc<AtomicBool>) -> Result<Self, QemuError> {
        let io = |what: &Path, source| QemuError::Io {
            what: what.display().to_string(),
            source,
        };
        for path in [machine.console, machine.output] {
            File::create(path).map_err(|source| io(path, source))?;
        }
        let stderr = tempfile::tempfile().map_err(|source| io(Path::new(QEMU), source))?;
        let spawn = || {
            // QEMU's end is open here until it has been inherited.
            let (_qemus, serial) = match machine.baud {
                Some(baud) => {
                    let (qemus, ours) = serial::pair()?;
                    serial::carry(ours, File::create(machine.console)?, baud);
                    let fd = qemus.as_raw_fd();
                    (Some(qemus), format!("socket,id=console,fd={fd}"))
                }
                None => (None, to_file("console", machine.console)),
            };
            // By way of this program, which ties QEMU's life to ours before it becomes QEMU.
            Command::new("/proc/self/exe")
                .args([
                    "lab-agent",
                    "tied",
                    &std::process::id().to_string(),
                    QEMU,
                    "--",
                ])
                .args(arguments(machine, &serial))
                .stdin(Stdio::null())
                .stdout(stderr.try_clone()?)
                .stderr(stderr.try_clone()?)
                .spawn()
        };
        let child = spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => QemuError::NoQemu,
            _ => io(Path::new(QEMU), source),
        })?;
        let console =
            Console::open(machine.console).map_err(|source| io(machine.console, source))?;
        let (output, interrupted) = (machine.output.to_owned(), Arc::clone(interrupted));
        Ok(Self {
            child,
            status: None,
            console,
            output,
            stderr,
            interrupted,
        })
    }

    /// Waits until the VM has powered off. Returns the end of its console.
    pub fn wait(mut self, patience: Patience) -> Result<String, QemuError> {
        let start = Instant::now();
        let (mut alive, mut sent) = (start, 0);
        while !self.ended()? {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(QemuError::Interrupted);
            }
            let said = self.poll_console()?;
            let out = fs::metadata(&self.output).map_or(0, |file| file.len());
            if said || out != sent {
                (alive, sent) = (Instant::now(), out);
            }
            if self.console.fatal().is_some() {
                self.hear_out()?;
                break;
            }
            if alive.elapsed() > patience.idle {
                let console = self.console.tail();
                return Err(QemuError::Stalled {
                    idle: patience.idle,
                    console,
                });
            }
            if start.elapsed() > patience.total {
                let console = self.console.tail();
                return Err(QemuError::TimedOut {
                    timeout: patience.total,
                    console,
                });
            }
            thread::sleep(POLL);
        }
        self.verdict()?;
        Ok(self.console.tail())
    }

    /// Waits for the first byte on the console, and ends the VM.
    pub fn first_word(mut self, patience: Duration) -> Result<(), QemuError> {
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
        Err(QemuError::Stalled {
            idle: patience,
            console: "(nothing)".to_owned(),
        })
    }

    /// Lets a dying kernel finish its message.
    fn hear_out(&mut self) -> Result<(), QemuError> {
        let start = Instant::now();
        while start.elapsed() < LAST_WORDS && !self.ended()? {
            self.poll_console()?;
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// What the console and QEMU's exit say about how it ended.
    fn verdict(&mut self) -> Result<(), QemuError> {
        self.poll_console()?;
        // A terminal sends its ^C to QEMU too, which then ends in good order.
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(QemuError::Interrupted);
        }
        if let Some(line) = self.console.fatal() {
            return Err(QemuError::Panic {
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
                let stderr = stderr.lines().next().unwrap_or_default().to_owned();
                let status = status.to_string();
                Err(QemuError::Failed { status, stderr })
            }
            _ => Ok(()),
        }
    }

    fn ended(&mut self) -> Result<bool, QemuError> {
        if self.status.is_none() {
            let io = |source| QemuError::Io {
                what: QEMU.to_owned(),
                source,
            };
            self.status = self.child.try_wait().map_err(io)?;
        }
        Ok(self.status.is_some())
    }

    fn poll_console(&mut self) -> Result<bool, QemuError> {
        self.console.poll().map_err(|source| QemuError::Io {
            what: "console".to_owned(),
            source,
        })
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

fn arguments(machine: &Machine<'_>, serial: &str) -> Vec<String> {
    let (accel, cpus) = match (machine.accel, machine.deterministic) {
        (Accel::Kvm, _) => ("kvm", machine.cpus),
        (Accel::Tcg, false) if machine.one_thread => ("tcg,thread=single", machine.cpus),
        (Accel::Tcg, false) => ("tcg", machine.cpus),
        (Accel::Tcg, true) => ("tcg,thread=single", 1),
    };
    let output = to_file("output", machine.output);
    let port = format!("virtserialport,nr=1,chardev=output,name={PORT}");
    let witness = format!(
        "virtserialport,nr={},chardev=witness,name={}",
        witness::PORT_NUMBER,
        witness::PORT
    );
    let heard = machine.heard.display().to_string();
    let (smp, memory) = (cpus.to_string(), format!("{}k", machine.memory >> 10));
    let mut arguments: Vec<String> = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-vga",
        "none",
        "-machine",
        QEMU_MACHINE,
        "-accel",
        accel,
        "-cpu",
        "max",
        "-smp",
        &smp,
        "-m",
        &memory,
        "-chardev",
        serial,
        "-serial",
        "chardev:console",
        "-chardev",
        &output,
        "-chardev",
        "file,id=witness,path=/dev/null",
        // Off: a write is handled at once, in the thread of the CPU that writes.
        // The witness needs that, and where instructions are counted the answer
        // must not come at an instruction that the host's scheduler picks.
        "-device",
        "virtio-serial-pci,ioeventfd=off",
        "-device",
        &port,
        "-device",
        &witness,
        "-trace",
        witness::EVENT,
        "-msg",
        "timestamp=on",
        "-D",
        &heard,
        "-append",
        machine.cmdline,
    ]
    .map(str::to_owned)
    .into();
    arguments.extend(["-kernel".to_owned(), machine.kernel.display().to_string()]);
    if let Some(initrd) = machine.initrd {
        arguments.extend(["-initrd".to_owned(), initrd.display().to_string()]);
    }
    if machine.deterministic {
        // The seed is RDRAND's, which the guest's hashes and layouts hang on.
        let seed = machine.seed.to_string();
        let clock = [
            "-icount",
            "shift=1,sleep=off",
            "-rtc",
            "base=2026-01-01,clock=vm",
            "-seed",
            &seed,
        ];
        arguments.extend(clock.map(str::to_owned));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_kernel_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmlinux");
        let text = |error: Result<(), QemuError>| error.unwrap_err().to_string();
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
            cmdline: "quiet",
            cpus: 2,
            memory: 1 << 30,
            accel: Accel::Tcg,
            deterministic: true,
            one_thread: false,
            seed: 7,
            console,
            baud: None,
            output: Path::new("/o"),
            heard: Path::new("/h"),
        };
        let arguments = arguments(&machine, &to_file("console", console));
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
