//! `cargo xtask host`: a root disk for the lab, of Debian's packages, with systemd as process 1.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::apt;
use crate::ebpf;
use crate::packages::{self, Purpose};
use crate::progress::{Job, say};

/// Suites that may have a systemd that does live updates, the most conservative first.
const SUITES: &[&str] = &["testing", "sid"];
/// The first version that hands LUO sessions to services (`LUOSession=`).
const SYSTEMD: &str = "262";
/// What the disk has beside Debian's essential packages.
const PACKAGES: &str = "systemd,systemd-sysv,udev,kmod,dbus,kexec-tools";
/// Room on it: what is installed takes 200 MiB.
const SIZE: &str = "768M";

/// The lab's part in the image; all else of the lab comes with each VM.
const SERVICE: &str = "\
[Unit]
Description=Lab of luo-trace
After=multi-user.target
[Service]
Type=exec
ExecStartPre=/bin/sh -c 'mkdir -p /run/lab && tar -xf /dev/vdb -C /run/lab'
ExecStart=/run/lab/lab lab-agent host
StandardOutput=journal+console
StandardError=journal+console
[Install]
WantedBy=multi-user.target
";

/// What is done with the system before it becomes a disk, as shell commands; `$1` is its root.
const HOOKS: [&str; 11] = [
    // Its only user may log in without a password; nothing listens, and nobody does.
    "chroot \"$1\" passwd -d root",
    "echo lab > \"$1/etc/hostname\"",
    "echo '/dev/vda / ext4 defaults 0 1' > \"$1/etc/fstab\"",
    "cp SERVICE \"$1/etc/systemd/system/lab.service\"",
    "chroot \"$1\" systemctl enable lab.service",
    // Its escape sequences would be all that the console has.
    "chroot \"$1\" systemctl mask serial-getty@ttyS0.service",
    "rm -rf \"$1\"/usr/share/doc/* \"$1\"/usr/share/man/* \"$1\"/usr/share/locale/*",
    // What a first boot rebuilds is built.
    "chroot \"$1\" systemd-machine-id-setup && chroot \"$1\" journalctl --update-catalog && \
     touch \"$1/etc/.updated\" \"$1/var/.updated\"",
    // This keeps packages from starting their services, in the making.
    "rm -f \"$1/usr/sbin/policy-rc.d\"",
    "rm -f IMAGE && truncate -s SIZE IMAGE",
    // In here, as only here the files belong to whom they are to belong; by a second mount,
    // which has none of /proc, /sys and /dev.
    "mount --bind \"$1\" \"$1/mnt\" && mke2fs -q -t ext4 -d \"$1/mnt\" IMAGE; \
     result=$?; umount \"$1/mnt\"; exit $result",
];

/// Returns the disk, making it if the cache has none.
pub fn ensure() -> Result<PathBuf> {
    packages::ensure(&[Purpose::HostImage])?;
    let mut hasher = DefaultHasher::new();
    (SYSTEMD, PACKAGES, SIZE, SERVICE, HOOKS).hash(&mut hasher);
    let cache = ebpf::cache_dir().map_err(anyhow::Error::msg)?.join("host");
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let disk = cache.join(format!("systemd-{SYSTEMD}-{:016x}.ext4", hasher.finish()));
    if disk.is_file() {
        say(&format!("host: {}", disk.display()));
        return Ok(disk);
    }
    let (archive, suite) = apt::suite_with("systemd", SYSTEMD, SUITES)?;
    let (partial, service) = (cache.join("partial.ext4"), cache.join("lab.service"));
    fs::write(&service, SERVICE)?;
    let (service, image) = (service.display().to_string(), partial.display().to_string());
    let hooks = HOOKS.map(|hook| {
        let hook = hook.replace("SERVICE", &service).replace("IMAGE", &image);
        format!("--customize-hook={hook}").replace("SIZE", SIZE)
    });
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        .args(["--variant=minbase", "--format=null"])
        .arg(format!("--include={PACKAGES}"))
        // A mirror may be a snapshot whose dates are over.
        .args(["--aptopt=Acquire::Check-Valid-Until \"false\""])
        .args(hooks)
        .args([suite, "-"])
        .arg(apt::source_line(&archive, suite));
    let job = Job {
        what: &format!("making a root disk of Debian {suite}"),
        total: 0,
        is_step: |_| true,
        log: &cache.join("mmdebstrap.log"),
    };
    job.run(bootstrap)?;
    fs::rename(&partial, &disk)?;
    say(&format!("host: {}", disk.display()));
    Ok(disk)
}
