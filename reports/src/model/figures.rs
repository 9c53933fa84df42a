//! A run without its calls, read in a third of the time.
//!
//! The calls are most of a file. They are checked as in a whole reading, so
//! that both refuse the same files, but nothing is kept of them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{KernelSide, Run};

/// Reads a run and drops its calls; nothing where it is no run, for a whole
/// reading to say why.
pub(super) fn read(text: &str) -> Option<Run> {
    let Parts {
        spans: Calls,
        mut rest,
    } = serde_json::from_str(text).ok()?;
    rest.insert("spans".to_owned(), Value::Array(Vec::new()));
    serde_json::from_value(Value::Object(rest)).ok()
}

#[derive(Deserialize)]
struct Parts {
    spans: Calls,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Calls that were looked at.
struct Calls;

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

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Calls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("calls")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut calls: A) -> Result<Calls, A::Error> {
                while calls.next_element::<Call<'de>>()?.is_some() {}
                Ok(Calls)
            }
        }
        deserializer.deserialize_seq(Each)
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Arguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Arguments, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Arguments)
            }
        }
        deserializer.deserialize_map(Each)
    }
}
