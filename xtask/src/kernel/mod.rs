//! `cargo xtask kernel`: a kernel for the lab, built once and kept.

mod config;
pub mod source;

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::ebpf;
use crate::packages::{self, Purpose};
use crate::progress::{Job, human, hush, say};
use crate::setup::remove;
use config::Refused;
use source::Source;

/// Series whose live update the lab is made for.
const SERIES: &str = "7.3";

/// The lab's own device, and where it goes.
const DEVICE: &str = include_str!("../../kernel/luo_lab.c");
const DEVICE_ROOM: &str = "kernel/liveupdate";

/// Which kernel to build.
#[derive(Args)]
pub struct Options {
    /// Series of the kernel: the newest Debian source package of it is taken.
    #[arg(long, default_value = SERIES)]
    series: String,
    /// A kernel tree (clean) or a tarball of one, in place of Debian's.
    #[arg(long, value_name = "DIR|TARBALL", conflicts_with = "series")]
    source: Option<PathBuf>,
    /// What to configure in.
    #[arg(long, value_enum, default_value = "quick")]
    flavor: Flavor,
    /// Show nothing but the path (and errors).
    #[arg(long)]
    print: bool,
}

impl Options {
    /// The lab's usual kernel in this flavor.
    pub fn of(flavor: Flavor) -> Self {
        Self {
            series: SERIES.to_owned(),
            source: None,
            flavor,
            print: false,
        }
    }
}

/// What the kernel has beyond a live update and probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavor {
    /// Nothing: the fastest to build.
    Quick,
    /// Debian's configuration for clouds, as far as it is built in: slower to build.
    Host,
}

impl Flavor {
    /// What the lab needs of it.
    fn fragment(self) -> &'static str {
        match self {
            Self::Quick => config::QUICK,
            Self::Host => config::HOST,
        }
    }

    /// Lines that make prints for one build, for the progress bar.
    fn steps(self) -> u64 {
        match self {
            Self::Quick => 1820,
            Self::Host => 3280,
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quick => "quick",
            Self::Host => "host",
        })
    }
}

/// Returns the kernel's image, building it if the cache has none.
pub fn ensure(options: &Options) -> Result<PathBuf> {
    if options.print {
        hush();
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!("the lab's kernel is built on x86-64 only; name another with --kernel");
    }
    let cache = ebpf::cache_dir().map_err(anyhow::Error::msg)?;
    let kernels = cache.join("kernel");
    fs::create_dir_all(&kernels).with_context(|| format!("cannot create {}", kernels.display()))?;
    // Two builds at once would share the partial directories.
    let lock = File::create(kernels.join("lock"))?;
    if lock.try_lock().is_err() {
        say("waiting for another build of a kernel to end");
        lock.lock()?;
    }

    let purposes: &[Purpose] = match options.flavor {
        Flavor::Quick => &[Purpose::Binary, Purpose::Kernel],
        Flavor::Host => &[Purpose::Binary, Purpose::Kernel, Purpose::HostKernel],
    };
    packages::ensure(purposes)?;
    let source = match &options.source {
        Some(path) => source::given(path)?,
        None => source::debian(&options.series, &cache.join("source"))?,
    };
    let fragment = options.flavor.fragment();
    let build = Build {
        flavor: options.flavor,
        config: match options.flavor {
            Flavor::Quick => fragment.to_owned(),
            Flavor::Host => {
                config::built_in(&source::cloud_config(&cache.join("source"))?, fragment)
            }
        },
        compiler: compiler()?,
        source,
    };
    let dir = kernels.join(build.key());
    let image = dir.join("bzImage");
    if image.is_file() {
        say(&format!(
            "kernel {} {}: {}",
            build.source.id,
            build.flavor,
            image.display()
        ));
        return Ok(image);
    }
    let partial = kernels.join("partial");
    remove(&partial)?;
    let result = build.run(&partial, &dir);
    if result.is_ok() {
        remove(&partial)?;
    }
    result.map(|()| image)
}

/// Everything that decides what a build results in.
struct Build {
    flavor: Flavor,
    /// What is configured in; the rest is off.
    config: String,
    compiler: String,
    source: Source,
}

impl Build {
    /// Name in the cache: readable, and another one if anything differs.
    fn key(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.config, &self.compiler, &self.source.id, DEVICE).hash(&mut hasher);
        format!(
            "{}-{}-{:016x}",
            self.source.id,
            self.flavor,
            hasher.finish()
        )
    }

    /// Configures, and returns the whole configuration.
    fn configure(&self, tree: &Path, partial: &Path, output: &Path) -> Result<String> {
        let mut asked = self.config.clone();
        let needed = self.flavor.fragment();
        let config = self.allnoconfig(&asked, tree, partial, output)?;
        let renamed: Vec<&str> = config::refused(needed, &config)
            .iter()
            .filter_map(Refused::older_name)
            .collect();
        let config = if renamed.is_empty() {
            config
        } else {
            say(&format!(
                "  under an older name in this source: {}",
                renamed.join(", ")
            ));
            for name in renamed {
                let _ = writeln!(asked, "CONFIG_{name}=y");
            }
            self.allnoconfig(&asked, tree, partial, output)?
        };
        let refused = config::refused(needed, &config);
        let (harmless, needed): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(Refused::is_harmless);
        if !needed.is_empty() {
            bail!(
                "this source refuses options that the lab needs: {}; try another --series or --source",
                config::listed(&needed)
            );
        }
        if !harmless.is_empty() {
            say(&format!(
                "  built in by this source, which costs time only: {}",
                config::listed(&harmless)
            ));
        }
        Ok(config)
    }

    fn allnoconfig(
        &self,
        asked: &str,
        tree: &Path,
        partial: &Path,
        output: &Path,
    ) -> Result<String> {
        let path = partial.join("fragment");
        fs::write(&path, asked)?;
        let mut configure = make(tree, output);
        configure.env("KCONFIG_ALLCONFIG", &path).arg("allnoconfig");
        let job = Job {
            what: &format!("configuring Linux {}", self.source.id),
            total: 0,
            is_step: |_| false,
            log: &partial.join("configure.log"),
        };
        job.run(configure)?;
        Ok(fs::read_to_string(output.join(".config"))?)
    }

    /// Builds below `partial`; only a whole result is moved to `dir`.
    fn run(&self, partial: &Path, dir: &Path) -> Result<()> {
        let started = Instant::now();
        let output = partial.join("build");
        fs::create_dir_all(&output)?;
        let tree = self.source.tree(partial)?;
        if self.source.path.is_dir() {
            say(
                "  without the lab's device: --source is a directory, which is not changed; give a tarball to get the device",
            );
        } else {
            add_device(&tree)?;
        }
        let config = self.configure(&tree, partial, &output)?;

        let mut compile = make(&tree, &output);
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        compile.arg(format!("-j{jobs}")).arg("bzImage");
        let job = Job {
            what: &format!(
                "building Linux {} ({}, {jobs} jobs)",
                self.source.id, self.flavor
            ),
            total: self.flavor.steps(),
            is_step,
            log: &partial.join("build.log"),
        };
        let steps = job.run(compile)?;

        let result = partial.join("result");
        fs::create_dir_all(&result)?;
        fs::copy(output.join("arch/x86/boot/bzImage"), result.join("bzImage"))
            .context("make ended well but left no bzImage")?;
        fs::write(result.join("config"), config)?;
        let seconds = started.elapsed().as_secs();
        let release = fs::read_to_string(output.join("include/config/kernel.release"))?;
        fs::write(
            result.join("build-info.json"),
            format!(
                "{{\n  \"release\": {:?},\n  \"source\": {:?},\n  \"flavor\": \"{}\",\n  \
                 \"compiler\": {:?},\n  \"jobs\": {jobs},\n  \"steps\": {steps},\n  \
                 \"seconds\": {seconds}\n}}\n",
                release.trim(),
                self.source.id,
                self.flavor,
                self.compiler,
            ),
        )?;
        remove(dir)?;
        fs::rename(&result, dir).with_context(|| format!("cannot move to {}", dir.display()))?;
        say(&format!("kernel built in {}", human(started.elapsed())));
        Ok(())
    }
}

/// Puts the lab's device into a tree of ours.
fn add_device(tree: &Path) -> Result<()> {
    let room = tree.join(DEVICE_ROOM);
    fs::write(room.join("luo_lab.c"), DEVICE).context("this source has no live update")?;
    let makefile = room.join("Makefile");
    let rules = fs::read_to_string(&makefile)?;
    fs::write(&makefile, rules + "obj-$(CONFIG_LIVEUPDATE) += luo_lab.o\n")?;
    Ok(())
}

/// Whoever builds, wherever: the same kernel, with the same name.
fn make(tree: &Path, output: &Path) -> Command {
    let mut make = Command::new("make");
    make.arg("-C").arg(tree);
    make.arg(format!("O={}", output.display()));
    make.args([
        "LOCALVERSION=",
        "KBUILD_BUILD_USER=luo-trace",
        "KBUILD_BUILD_HOST=lab",
    ]);
    make
}

/// Whether make says that it made one file: `  CC      kernel/kexec_core.o`.
fn is_step(line: &str) -> bool {
    line.strip_prefix("  ")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()))
}

fn compiler() -> Result<String> {
    let output = Command::new("gcc")
        .arg("--version")
        .output()
        .context("gcc does not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(fragment: &str, source: &str) -> Build {
        Build {
            flavor: Flavor::Quick,
            config: fragment.to_owned(),
            compiler: "gcc 12".to_owned(),
            source: Source {
                path: PathBuf::new(),
                id: source.to_owned(),
            },
        }
    }

    #[test]
    fn the_key_tells_kernels_apart() {
        let key = build("CONFIG_SMP=y", "7.3.4-1").key();
        assert!(key.starts_with("7.3.4-1-quick-"), "{key}");
        assert_eq!(key, build("CONFIG_SMP=y", "7.3.4-1").key());
        assert_ne!(key, build("CONFIG_SMP=n", "7.3.4-1").key());
        assert_ne!(key, build("CONFIG_SMP=y", "7.3.5-1").key());
    }

    #[test]
    fn only_makes_own_lines_are_steps() {
        assert!(is_step("  CC      kernel/kexec_core.o"));
        assert!(!is_step("make[1]: Entering directory"));
        assert!(!is_step("    warning"));
    }
}
