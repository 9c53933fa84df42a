//! Attempts that came back: `kernel_kexec` returned.

use reports::model::{Aborted, KernelSide, Span};

/// Attempts before the one that worked, in order.
pub(super) fn find(spans: &[Span]) -> Vec<Aborted> {
    spans
        .iter()
        .filter(|s| s.kernel == KernelSide::Old && s.name == "kernel_kexec")
        .filter_map(|attempt| {
            Some(Aborted {
                t: attempt.start_t,
                duration_ns: attempt.duration_ns?,
                ret: attempt.ret?,
                why: why(attempt, spans),
                rollback_ns: rollback(attempt, spans),
            })
        })
        .collect()
}

fn within<'s>(
    attempt: &'s Span,
    spans: &'s [Span],
    name: &'s str,
) -> impl Iterator<Item = &'s Span> {
    let end = attempt.end_t().unwrap_or(i64::MAX);
    spans.iter().filter(move |s| {
        s.kernel == KernelSide::Old
            && s.name == name
            && s.pid == attempt.pid
            && (attempt.start_t..=end).contains(&s.start_t)
    })
}

/// Who said no (`kernel_kexec` in `kernel/kexec_core.c`, v7.3).
fn why(attempt: &Span, spans: &[Span]) -> String {
    let refused = |name: &'static str| {
        within(attempt, spans, name).find_map(|s| s.ret.filter(|ret| *ret < 0).map(|ret| (s, ret)))
    };
    if let Some((freeze, ret)) = refused("memfd_luo_freeze").or_else(|| refused("luo_file_freeze"))
    {
        let session = super::sessions::session(freeze)
            .map_or(String::new(), |name| format!(" of session {name}"));
        return format!(
            "{} returned {ret}: a file{session} refused to freeze",
            freeze.name
        );
    }
    if let Some((_, ret)) = refused("liveupdate_reboot") {
        return format!("liveupdate_reboot returned {ret}: the sessions could not be serialized");
    }
    match attempt.ret.unwrap_or(0) {
        ret if ret == -i64::from(libc::EBUSY) => {
            "another kexec call was under way (EBUSY)".to_owned()
        }
        ret if ret == -i64::from(libc::EINVAL) => "no image was loaded (EINVAL)".to_owned(),
        ret => format!("kernel_kexec returned {ret}"),
    }
}

fn rollback(attempt: &Span, spans: &[Span]) -> Option<i64> {
    within(attempt, spans, "luo_file_unfreeze")
        .filter_map(|s| s.duration_ns)
        .reduce(|sum, ns| sum + ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, start_t: i64, duration_ns: Option<i64>, ret: Option<i64>) -> Span {
        Span {
            id: 0,
            parent: None,
            name: name.to_owned(),
            kernel: KernelSide::Old,
            start_t,
            duration_ns,
            cpu: 0,
            pid: 1,
            comm: "kexec".to_owned(),
            ret,
            args: serde_json::Map::new(),
        }
    }

    #[test]
    fn a_refused_freeze_names_who_refused_and_what_the_way_back_took() {
        let mut freeze = span("luo_file_freeze", -95, Some(3), Some(-16));
        freeze.args.insert("session".into(), "vm-1".into());
        let spans = [
            span("kernel_kexec", -100, Some(40), Some(-16)),
            freeze,
            span("luo_file_unfreeze", -90, Some(7), None),
            span("luo_file_unfreeze", -80, Some(5), None),
            span("kernel_kexec", 0, None, None),
            span("luo_file_unfreeze", 5, Some(100), None),
        ];
        let [attempt] = &find(&spans)[..] else {
            panic!("one attempt came back")
        };
        assert_eq!(
            (attempt.t, attempt.duration_ns, attempt.ret),
            (-100, 40, -16)
        );
        assert_eq!(attempt.rollback_ns, Some(12));
        assert!(attempt.why.contains("of session vm-1"), "{}", attempt.why);
    }

    #[test]
    fn an_attempt_without_an_image_says_so() {
        let found = find(&[span("kernel_kexec", -100, Some(4), Some(-22))]);
        assert_eq!(found[0].why, "no image was loaded (EINVAL)");
        assert_eq!(found[0].rollback_ns, None);
    }
}
