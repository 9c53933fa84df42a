//! What systemd says of its part of the outage: three stamps of the old kernel's shutdown, which
//! it carries over itself, and when the services that keep descriptors were ready again
//! (`org.freedesktop.systemd1(5)`, version 262).
//!
//! All are of `CLOCK_MONOTONIC`, in us: the boot clock of a machine that was not suspended.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::clock::{BootNs, New, Old};

/// What systemd's stamps are rounded to, ns.
pub const QUANTUM_NS: u64 = 1_000;
/// The LUO session that systemd keeps the descriptors of services in.
pub const SESSION: &str = "systemd";
/// Between two looks at services that are not ready yet.
const LOOK: Duration = Duration::from_millis(250);

/// systemd's part of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// It began to stop units.
    pub stopping: BootNs<Old>,
    /// All were stopped.
    pub stopped: BootNs<Old>,
    /// systemd-shutdown began: what is left is killed, descriptors are preserved.
    pub late: BootNs<Old>,
    /// Services that keep descriptors over a kexec, and when each was ready again.
    pub agents: Vec<(String, Option<BootNs<New>>)>,
    /// Units that were stopped, where the journal outlived the boot.
    pub stops: Vec<Stop>,
}

/// A unit on its way down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its name.
    pub unit: String,
    /// It was told to stop.
    pub start: BootNs<Old>,
    /// It had.
    pub end: BootNs<Old>,
}

/// Asks systemd; waits so long for services that are still to start, unless `wait`, which sleeps
/// until then, is told to end. Nothing where it is not systemd that did the update, or an older
/// one.
#[must_use]
pub fn ask(patience: Duration, wait: impl Fn(Instant) -> io::Result<bool>) -> Option<Manager> {
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let start = Instant::now();
    let stamps = show(&["show", "-p"], &[&STAMPS[..], &[SOFT_REBOOTS]].concat())?;
    if has_soft_rebooted(&stamps) {
        log::warn!(
            "the window service is missing: userspace was restarted (soft-reboot) after the update, and \
             systemd keeps the times of its last shutdown only"
        );
        return None;
    }
    loop {
        let services = show(&["show", "*.service", "-p"], &SERVICE)?;
        let mut manager = Manager::of(&stamps, &services)?;
        let all_are_here = !blocks(&services).any(|unit| keeps(&unit) && is_coming(&unit));
        if all_are_here || start.elapsed() > patience || wait(Instant::now() + LOOK).unwrap_or(true)
        {
            manager.stops = stops(&journal().unwrap_or_default(), manager.stopping);
            return Some(manager);
        }
    }
}

const STAMPS: [&str; 3] = [
    "PreviousShutdownStartTimestampMonotonic",
    "PreviousShutdownFinishTimestampMonotonic",
    "PreviousShutdownLateStartTimestampMonotonic",
];
/// How often userspace was restarted under the running kernel.
const SOFT_REBOOTS: &str = "SoftRebootsCount";
const SERVICE: [&str; 5] = [
    "Id",
    "Job",
    "ActiveState",
    "FileDescriptorStorePreserve",
    "ActiveEnterTimestampMonotonic",
];
/// The unit that this program is shipped as keeps nothing for others.
const OWN: &str = "luo-trace";

fn show(words: &[&str], properties: &[&str]) -> Option<String> {
    let output = Command::new("systemctl")
        .args(words)
        .arg(properties.join(","))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let output = output.ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// A soft-reboot is a shutdown without a kexec: its stamps are of this kernel.
fn has_soft_rebooted(stamps: &str) -> bool {
    let count = blocks(stamps).find_map(|stamps| stamps.get(SOFT_REBOOTS)?.parse::<u64>().ok());
    count.is_some_and(|count| count > 0)
}

impl Manager {
    fn of(stamps: &str, services: &str) -> Option<Self> {
        let stamps = blocks(stamps).next()?;
        let at = |name: &str| boot_ns(stamps.get(name)?).map(BootNs::<Old>::new);
        let [stopping, stopped, late] = STAMPS.map(at);
        let agents = blocks(services).filter(keeps).filter_map(|unit| {
            let ready = boot_ns(unit.get("ActiveEnterTimestampMonotonic")?);
            Some(((*unit.get("Id")?).to_owned(), ready.map(BootNs::new)))
        });
        Some(Self {
            stopping: stopping?,
            stopped: stopped?,
            late: late?,
            agents: agents.collect(),
            stops: Vec::new(),
        })
    }
}

/// What process 1 wrote into the journal of the previous boot about units that it stopped.
fn journal() -> Option<String> {
    let output = Command::new("journalctl")
        .args(["-b", "-1", "-o", "json", "_PID=1", "JOB_TYPE=stop"])
        .arg("--output-fields=UNIT,MESSAGE_ID")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    String::from_utf8(output.ok()?.stdout).ok()
}

/// Units by when they were stopped, from `since` on; those of which the end is not told are
/// left out.
fn stops(journal: &str, since: BootNs<Old>) -> Vec<Stop> {
    /// `SD_MESSAGE_UNIT_STOPPING` and `SD_MESSAGE_UNIT_STOPPED` (sd-messages.h, v262).
    const STOPPING: &str = "de5b426a63be47a7b6ac3eaac82e2f6f";
    const STOPPED: &str = "9d1aaa27d60140bd96365438aad20286";
    let (mut open, mut stops) = (HashMap::new(), Vec::new());
    for line in journal.lines() {
        let Ok(entry) = serde_json::from_str::<Entry>(line) else {
            continue;
        };
        let at = boot_ns(&entry.at).map(BootNs::<Old>::new);
        let Some(at) = at.filter(|at| *at >= since) else {
            continue;
        };
        match &entry.message[..] {
            STOPPING => drop(open.insert(entry.unit, at)),
            STOPPED => stops.extend(open.remove(&entry.unit).map(|start| Stop {
                unit: entry.unit,
                start,
                end: at,
            })),
            _ => {}
        }
    }
    stops
}

/// A line of the journal.
#[derive(serde::Deserialize)]
struct Entry {
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    at: String,
    #[serde(rename = "UNIT")]
    unit: String,
    #[serde(rename = "MESSAGE_ID")]
    message: String,
}

/// State of the service that is shipped (`active`, `inactive`, `failed`, …), where systemd is the
/// service manager and has such a unit.
#[must_use]
pub fn own_service() -> Option<String> {
    let unit = format!("{OWN}.service");
    let text = show(&["show", &unit, "-p"], &["LoadState", "ActiveState"])?;
    let unit = blocks(&text).next()?;
    let state = unit.get("ActiveState")?;
    (unit.get("LoadState") == Some(&"loaded")).then(|| (*state).to_owned())
}

/// Descriptors that services keep over a kexec and that no kernel can preserve so far, as
/// unit, name and what each is.
#[must_use]
pub fn unpreservable() -> Vec<(String, String, String)> {
    let services = show(&["show", "*.service", "-p"], &SERVICE).unwrap_or_default();
    let units = blocks(&services).filter(keeps);
    let stores = units.filter_map(|unit| {
        let unit = *unit.get("Id")?;
        let output = Command::new("systemd-analyze")
            .args(["fdstore", "--json=short", unit])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        Some((unit.to_owned(), output.ok()?.stdout))
    });
    stores
        .flat_map(|(unit, json)| {
            let kept: Vec<Kept> = serde_json::from_slice(&json).unwrap_or_default();
            let lost = kept.into_iter().filter(|kept| !kept.is_preservable());
            lost.map(move |kept| (unit.clone(), kept.name, kept.path))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A descriptor in a service's store.
#[derive(serde::Deserialize)]
struct Kept {
    #[serde(rename = "fdname")]
    name: String,
    #[serde(default)]
    path: String,
}

impl Kept {
    /// LUO takes memfds; sessions are kept as such.
    fn is_preservable(&self) -> bool {
        ["/memfd:", "anon_inode:[luo_session]"]
            .iter()
            .any(|known| self.path.starts_with(known))
    }
}

/// ns of a stamp in us; 0 stands for never.
fn boot_ns(micros: &str) -> Option<i64> {
    let micros = micros.parse::<i64>().ok().filter(|micros| *micros > 0)?;
    micros.checked_mul(1000)
}

/// Whether a service has its descriptors kept over a kexec.
fn keeps(unit: &HashMap<&str, &str>) -> bool {
    let preserve = unit.get("FileDescriptorStorePreserve");
    let own = unit.get("Id").is_some_and(|id| id.starts_with(OWN));
    !own && preserve.is_some_and(|word| ["yes", "on-success"].contains(word))
}

/// Whether a service is being started, or is to be.
fn is_coming(unit: &HashMap<&str, &str>) -> bool {
    let has_job = unit
        .get("Job")
        .is_some_and(|job| *job != "0" && !job.is_empty());
    has_job || unit.get("ActiveState") == Some(&"activating")
}

/// `KEY=VALUE` lines, block by block.
fn blocks(text: &str) -> impl Iterator<Item = HashMap<&str, &str>> {
    text.split("\n\n").map(|block| {
        block
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHUTDOWN: &str = "PreviousShutdownStartTimestampMonotonic=20000001\n\
                            PreviousShutdownFinishTimestampMonotonic=22000000\n\
                            PreviousShutdownLateStartTimestampMonotonic=22300000\n";

    #[test]
    fn services_that_keep_descriptors_are_the_agents() {
        let services = "Id=a.service\nActiveState=active\nFileDescriptorStorePreserve=yes\n\
                        ActiveEnterTimestampMonotonic=7000000\n\n\
                        Id=b.service\nActiveState=active\nFileDescriptorStorePreserve=restart\n\
                        ActiveEnterTimestampMonotonic=8000000\n\n\
                        Id=luo-trace.service\nActiveState=active\nFileDescriptorStorePreserve=yes\n\
                        ActiveEnterTimestampMonotonic=9000000\n\n\
                        Id=c.service\nActiveState=failed\nFileDescriptorStorePreserve=on-success\n\
                        ActiveEnterTimestampMonotonic=0\n";
        let manager = Manager::of(SHUTDOWN, services).unwrap();
        assert_eq!(manager.stopping.ns(), 20_000_001_000);
        let agents = [
            ("a.service".to_owned(), Some(BootNs::new(7_000_000_000))),
            ("c.service".to_owned(), None),
        ];
        assert_eq!(manager.agents, agents);
        let coming = |text| is_coming(&blocks(text).next().unwrap());
        assert!(coming("Job=17\nActiveState=inactive") && coming("ActiveState=activating"));
        assert!(!coming("Job=0\nActiveState=inactive") && !coming("ActiveState=active"));
    }

    #[test]
    fn a_restart_of_userspace_is_told_from_an_update() {
        let after = |count| has_soft_rebooted(&format!("{SHUTDOWN}SoftRebootsCount={count}\n"));
        assert!(after("1") && !after("0"));
        // Where systemd does not tell.
        assert!(!has_soft_rebooted(SHUTDOWN));
    }

    #[test]
    fn the_journal_tells_how_long_each_unit_took_to_stop() {
        let line = |unit: &str, id: &str, at: u32| {
            format!(
                r#"{{"UNIT":"{unit}","MESSAGE_ID":"{id}","__MONOTONIC_TIMESTAMP":"{at}","_BOOT_ID":"x"}}"#
            )
        };
        let (stopping, stopped) = (
            "de5b426a63be47a7b6ac3eaac82e2f6f",
            "9d1aaa27d60140bd96365438aad20286",
        );
        let journal = [
            line("early.service", stopping, 5),
            line("early.service", stopped, 6),
            "no json".to_owned(),
            line("a.service", stopping, 20),
            line("b.service", stopping, 21),
            line("a.service", stopped, 50),
        ];
        let stops = stops(&journal.join("\n"), BootNs::new(10_000));
        let a = Stop {
            unit: "a.service".to_owned(),
            start: BootNs::new(20_000),
            end: BootNs::new(50_000),
        };
        assert_eq!(stops, [a]);
    }

    #[test]
    fn a_memfd_is_preservable_and_a_socket_is_not() {
        let kept: Vec<Kept> = serde_json::from_str(
            r#"[{"fdname":"1","path":"/memfd:lab-0-1 (deleted)"},
                {"fdname":"s","path":"anon_inode:[luo_session] x"},
                {"fdname":"c","type":"sock","path":"socket:[77]"}]"#,
        )
        .unwrap();
        let lost: Vec<_> = kept.iter().filter(|kept| !kept.is_preservable()).collect();
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].name, "c");
    }

    #[test]
    fn a_shutdown_that_systemd_did_not_see_has_no_stamps() {
        let never = SHUTDOWN.replace("22000000", "0");
        assert_eq!(Manager::of(&never, ""), None);
        assert_eq!(Manager::of("", ""), None);
    }
}
