//! From facts to files: the rows of one commit.

use std::collections::BTreeMap;

use anyhow::Result;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use sha2::{Digest as _, Sha256};

use crate::facts::{Facts, Group, PHASE, Part, Text, is_derived};
use crate::store::{DataFile, Store, hex};
use crate::tables::{Cell, Rows, Table, parquet};

/// An update that a host was told to do, whether or not it told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Boot id of the kernel that was to be replaced.
    pub old_boot_id: String,
    /// When, us since 1970.
    pub at_us: i64,
    /// Name of the host.
    pub host: String,
    /// What it is grouped by; what became of it is not known.
    pub group: Group,
}

impl Told {
    /// Its name in `outcomes`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("told:{}", self.old_boot_id)
    }
}

/// The result of an attempt that was told only.
pub const TOLD: &str = "told";

/// The rows of one week.
struct Week {
    runs: Rows,
    phases: Rows,
    calls: Rows,
    guests: Rows,
    outcomes: Rows,
    sketches: BTreeMap<SketchKey, Histogram<u64>>,
}

/// Whose lengths a sketch has: group, kind, name, and whether they are derived.
pub type SketchKey = (Group, &'static str, Text, bool);

impl Week {
    fn new() -> Self {
        Self {
            runs: Rows::new(Table::Runs),
            phases: Rows::new(Table::Phases),
            calls: Rows::new(Table::Calls),
            guests: Rows::new(Table::Guests),
            outcomes: Rows::new(Table::Outcomes),
            sketches: BTreeMap::new(),
        }
    }

    fn add(&mut self, facts: &Facts) {
        self.run(facts);
        self.outcome(facts);
        let group = &facts.group;
        for part in &facts.parts {
            let place = self.phases.place(&part.name, group);
            self.phases.push(place, group, part_cells(facts, part));
            let key = (
                group.clone(),
                part.kind,
                part.name.clone(),
                is_derived(part),
            );
            if let Some(sketch) = sketch(&mut self.sketches, key) {
                sketch.saturating_record(u64::try_from(part.duration).unwrap_or(0));
            }
        }
        for calls in &facts.calls {
            let place = self.calls.place(&calls.function, group);
            let cells = [
                Cell::from(&*facts.id),
                (&*calls.function).into(),
                calls.kernel.into(),
                Cell::Text(calls.phase.as_deref()),
                calls.count.into(),
                calls.unreturned.into(),
                calls.total.into(),
                calls.longest.into(),
            ];
            self.calls.push(place, group, cells);
        }
        for guest in &facts.guests {
            let place = self.guests.place("", group);
            let cells = [
                Cell::from(&*facts.id),
                (&*guest.name).into(),
                Cell::Text(guest.matched),
                guest.vcpus.into(),
                Cell::Int(guest.window),
                Cell::Int(guest.error),
                Cell::Int(guest.longest_outage),
            ];
            self.guests.push(place, group, cells);
        }
    }

    fn run(&mut self, facts: &Facts) {
        let place = self.runs.place("", &facts.group);
        let [old_release, new_release] = &facts.releases;
        let [old_version, new_version] = &facts.versions;
        let [old_boot, new_boot] = &facts.boots;
        let [measured, derived, unknown] = facts.coverage;
        let [seen, lost] = facts.events;
        let restore = facts.restore();
        let cells = [
            Cell::from(&*facts.id),
            facts.captured_us.into(),
            (&*facts.host).into(),
            (&*facts.machine).into(),
            facts.cpus.into(),
            facts.memory.into(),
            (&*facts.virtualization).into(),
            Cell::Text(old_release.as_deref()),
            Cell::Text(new_release.as_deref()),
            Cell::Text(old_version.as_deref()),
            Cell::Text(new_version.as_deref()),
            Cell::Text(old_boot.as_deref()),
            Cell::Text(new_boot.as_deref()),
            Cell::Bool(facts.lab),
            Cell::Text(facts.why.as_deref()),
            Cell::Int(restore.map(|part| part.duration)),
            Cell::Int(restore.map(|part| part.error)),
            (&*facts.clock).into(),
            facts.clock_error.into(),
            Cell::Float(measured),
            Cell::Float(derived),
            Cell::Float(unknown),
            facts.self_cost.into(),
            seen.into(),
            lost.into(),
            i64::try_from(facts.aborted.len())
                .unwrap_or(i64::MAX)
                .into(),
        ];
        self.runs.push(place, &facts.group, cells);
    }

    fn outcome(&mut self, facts: &Facts) {
        let group = &facts.group;
        let place = self.outcomes.place("", group);
        let boot = Cell::Text(facts.boots[0].as_deref());
        let cells = [
            Cell::from(&*facts.id),
            (&*facts.id).into(),
            facts.captured_us.into(),
            (&*facts.host).into(),
            boot,
            (&*group.outcome).into(),
            Cell::Text(facts.why.as_deref()),
            Cell::Int(facts.restore().map(|part| part.duration)),
            Cell::Int(None),
        ];
        self.outcomes.push(place, group, cells);
        for (number, aborted) in facts.aborted.iter().enumerate() {
            let id = format!("{}#{number}", facts.id);
            let cells = [
                Cell::from(&*id),
                (&*facts.id).into(),
                facts.captured_us.into(),
                (&*facts.host).into(),
                boot,
                "aborted".into(),
                (&*aborted.why).into(),
                aborted.duration_ns.into(),
                Cell::Int(aborted.rollback_ns),
            ];
            let place = self.outcomes.place("aborted", group);
            self.outcomes.push(place, group, cells);
        }
    }

    fn told(&mut self, told: &Told) {
        let place = self.outcomes.place(TOLD, &told.group);
        let id = told.id();
        let cells = [
            Cell::from(&*id),
            Cell::Text(None),
            told.at_us.into(),
            (&*told.host).into(),
            (&*told.old_boot_id).into(),
            TOLD.into(),
            Cell::Text(None),
            Cell::Int(None),
            Cell::Int(None),
        ];
        self.outcomes.push(place, &told.group, cells);
    }

    fn finish(self) -> [Rows; 6] {
        let mut rows = Rows::new(Table::Sketches);
        for ((group, kind, name, derived), sketch) in &self.sketches {
            let place = rows.place(name, group);
            let bytes = to_bytes(sketch);
            let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let cells = [
                Cell::from(*kind),
                (&**name).into(),
                Cell::Bool(*derived),
                int(sketch.len()).into(),
                int(sketch.min()).into(),
                int(sketch.max()).into(),
                Cell::Bytes(&bytes),
            ];
            rows.push(place, group, cells);
        }
        [
            self.runs,
            self.phases,
            self.calls,
            self.guests,
            self.outcomes,
            rows,
        ]
    }
}

fn part_cells<'a>(facts: &'a Facts, part: &'a Part) -> [Cell<'a>; 8] {
    [
        Cell::from(&*facts.id),
        part.kind.into(),
        (&*part.name).into(),
        Cell::Text((part.kind == PHASE).then_some(part.source)),
        Cell::Bool(is_derived(part)),
        part.start.into(),
        part.duration.into(),
        part.error.into(),
    ]
}

fn sketch(
    all: &mut BTreeMap<SketchKey, Histogram<u64>>,
    key: SketchKey,
) -> Option<&mut Histogram<u64>> {
    use std::collections::btree_map::Entry;
    match all.entry(key) {
        Entry::Occupied(found) => Some(found.into_mut()),
        Entry::Vacant(place) => Some(place.insert(reports::stats::histogram(&[])?)),
    }
}

/// A sketch in the V2 format of `HdrHistogram`.
#[must_use]
pub fn to_bytes(sketch: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Into memory, of counts that fit: it cannot fail.
    let _ = V2Serializer::new().serialize(sketch, &mut bytes);
    bytes
}

/// Writes the files of a batch; what is to be committed.
pub async fn write(store: &Store, runs: &[Facts], told: &[Told]) -> Result<Vec<DataFile>> {
    let mut weeks = BTreeMap::<Text, Week>::new();
    let mut ids = Sha256::new();
    for facts in runs {
        ids.update(facts.id.as_bytes());
        let week = weeks.entry(facts.group.week.clone());
        week.or_insert_with(Week::new).add(facts);
    }
    for told in told {
        ids.update(told.id().as_bytes());
        let week = weeks.entry(told.group.week.clone());
        week.or_insert_with(Week::new).told(told);
    }
    let batch = hex(&ids.finalize());
    let mut files = Vec::new();
    for (week, rows) in weeks {
        // Empty ones too: an engine reads the columns of a table from its files.
        for rows in rows.finish() {
            let (table, count) = (rows.table, rows.count() as u64);
            let bytes = parquet(table, &[rows.finish()?])?;
            let mut file = store.put(table, &week, bytes, count).await?;
            file.batch.clone_from(&batch);
            files.push(file);
        }
    }
    Ok(files)
}
