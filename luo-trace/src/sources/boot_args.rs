//! Boot parameters that make the next kernel's boot seen from its first initcall.

use crate::arch::TRACE_CLOCK;

/// What to boot the new kernel with: the counter is the one clock that both
/// kernels share.
#[must_use]
pub fn parameters() -> String {
    format!(
        "trace_event=initcall:initcall_level,initcall:initcall_start,initcall:initcall_finish \
         trace_clock={} trace_buf_size=1M",
        TRACE_CLOCK.name()
    )
}

/// A command line with the boot trace on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The whole command line.
    pub cmdline: String,
    /// What of it was added, in order.
    pub added: Vec<String>,
    /// What was left as it is, although the trace cannot be read that way.
    pub in_the_way: Option<String>,
}

/// Adds to a command line what of [`parameters`] it lacks. What it has stays: of
/// the events the missing ones are added, another clock or size is the user's wish.
#[must_use]
pub fn add_to(cmdline: &str) -> Traced {
    // What follows is for init, not for the kernel.
    let (kernel, init) = match cmdline.split_once(" -- ") {
        Some((kernel, init)) => (kernel, Some(init)),
        None => (cmdline, None),
    };
    let values = |key: &str| -> Vec<&str> {
        let words = kernel.split_ascii_whitespace();
        words
            .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .collect()
    };
    let (mut added, mut in_the_way) = (Vec::new(), None);
    for parameter in parameters().split_ascii_whitespace() {
        let Some((key, wanted)) = parameter.split_once('=') else {
            continue;
        };
        let present = values(key);
        if key == "trace_event" {
            let has = |event: &&str| {
                let all = present.iter().flat_map(|value| value.split(','));
                let group = event.split(':').next().unwrap_or(event);
                all.into_iter().any(|one| {
                    one == *event || one == group || one.strip_suffix(":*") == Some(group)
                })
            };
            let missing: Vec<&str> = wanted.split(',').filter(|event| !has(event)).collect();
            if !missing.is_empty() {
                added.push(format!("{key}={}", missing.join(",")));
            }
        } else if present.is_empty() {
            added.push(parameter.to_owned());
        } else if key == "trace_clock" && present.last() != Some(&wanted) {
            in_the_way = present.last().map(|value| format!("{key}={value}"));
        }
    }
    let mut words: Vec<&str> = vec![kernel.trim_end()];
    words.retain(|kernel| !kernel.is_empty());
    words.extend(added.iter().map(String::as_str));
    let mut cmdline = words.join(" ");
    if let Some(init) = init {
        cmdline.push_str(" -- ");
        cmdline.push_str(init);
    }
    Traced {
        cmdline,
        added,
        in_the_way,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_line_lacks_is_added_once_and_before_what_is_inits() {
        let traced = add_to("console=ttyS0 quiet -- single");
        assert_eq!(
            traced.cmdline,
            format!("console=ttyS0 quiet {} -- single", parameters())
        );
        assert_eq!(traced.added.join(" "), parameters());
        let again = add_to(&traced.cmdline);
        assert_eq!((again.cmdline, again.added), (traced.cmdline, Vec::new()));
        assert_eq!(add_to("").cmdline, parameters());
    }

    #[test]
    fn what_a_command_line_has_stays() {
        let traced = add_to(
            "trace_event=sched:sched_switch,initcall:initcall_start trace_clock=local trace_buf_size=8M",
        );
        assert_eq!(
            traced.added,
            ["trace_event=initcall:initcall_level,initcall:initcall_finish"]
        );
        assert_eq!(traced.in_the_way.as_deref(), Some("trace_clock=local"));
        let all = add_to(&format!(
            "trace_event=initcall:* trace_clock=local trace_clock={}",
            TRACE_CLOCK.name()
        ));
        assert_eq!(all.added, ["trace_buf_size=1M"]);
        assert_eq!(all.in_the_way, None);
    }
}
