//! A run without its calls, read in a third of the time.
//!
//! The calls are most of a file. They are checked as in a whole reading, so
//! that both refuse the same files, but only their places and lengths are kept.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::calls::{Calls, Gathering};
use super::{KernelSide, Run};

/// Reads a run and the figures of its calls; nothing where it is no run, for a
/// whole reading to say why.
pub(super) fn read(text: &str, gathering: &mut Gathering) -> Option<(Run, Calls)> {
    gathering.clear();
    let mut json = serde_json::Deserializer::from_str(text);
    let rest = Whole(gathering).deserialize(&mut json).ok()?;
    json.end().ok()?;
    let run: Run = serde_json::from_value(Value::Object(rest)).ok()?;
    let calls = gathering.finish(&run.phases);
    Some((run, calls))
}

/// A run: all but its calls, which are gathered.
struct Whole<'g>(&'g mut Gathering);

/// The calls of a run.
struct Each<'g>(&'g mut Gathering);

/// A call as [`super::Span`] has it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read to see that it can be")]
struct Call<'a> {
    id: u32,
    parent: Option<u32>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    kernel: KernelSide,
    start_t: i64,
    duration_ns: Option<i64>,
    cpu: u32,
    pid: u32,
    #[serde(borrow)]
    comm: Cow<'a, str>,
    ret: Option<i64>,
    #[serde(default)]
    args: Arguments,
}

/// A map of anything.
#[derive(Default)]
struct Arguments;

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a run")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rest = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = if key == "spans" {
                map.next_value_seed(Each(self.0))?;
                Value::Array(Vec::new())
            } else {
                map.next_value()?
            };
            if rest.insert(key, value).is_some() {
                return Err(A::Error::custom("a field is there twice"));
            }
        }
        Ok(rest)
    }
}

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("calls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut calls: A) -> Result<(), A::Error> {
        while let Some(call) = calls.next_element::<Call<'de>>()? {
            self.0
                .add(&call.name, call.kernel, call.start_t, call.duration_ns);
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Arguments, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Arguments)
            }
        }
        deserializer.deserialize_map(Any)
    }
}
