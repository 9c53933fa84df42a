//! Runs that may be summed up together: the same kernels, host and workload.

use std::borrow::Cow;

use super::comparable;
use crate::files::set::Set;
use crate::model::Run;
use crate::model::calls::Calls;

/// Runs of one setup, with the figures of their calls.
pub struct Group<'a> {
    /// The runs, in the order of the set.
    pub runs: Vec<&'a Run>,
    /// The calls of each.
    pub calls: Vec<Cow<'a, [Calls]>>,
}

/// Groups the runs of a set that may be compared: the same kernels, host and workload.
///
/// A run that lost its carrier does not know its old kernel; it joins the group
/// that it fits otherwise, if there is just one.
#[must_use]
pub fn groups(set: &Set) -> Vec<Group<'_>> {
    let of = |numbers: Vec<usize>| Group {
        calls: numbers.iter().map(|number| set.calls_of(*number)).collect(),
        runs: numbers.iter().filter_map(|n| set.runs.get(*n)).collect(),
    };
    numbers(&set.runs).into_iter().map(of).collect()
}

/// The places of the runs of each group.
fn numbers(runs: &[Run]) -> Vec<Vec<usize>> {
    let is_whole = |number: &usize| runs[*number].old_kernel.is_some();
    let (whole, halves): (Vec<usize>, Vec<usize>) = (0..runs.len()).partition(is_whole);
    let mut groups = Vec::<Vec<usize>>::new();
    let fitting = |groups: &[Vec<usize>], number: usize| -> Vec<usize> {
        let fits = |place: &usize| alike(&runs[groups[*place][0]], &runs[number]);
        (0..groups.len()).filter(fits).collect()
    };
    let join = |groups: &mut Vec<Vec<usize>>, number, place: Option<&usize>| match place {
        Some(place) => groups[*place].push(number),
        None => groups.push(vec![number]),
    };
    for number in whole {
        let place = fitting(&groups, number);
        join(&mut groups, number, place.first());
    }
    let known = groups.len();
    for number in halves {
        let fits = fitting(&groups, number);
        let place = match fits.partition_point(|place| *place < known) {
            1 => fits.first(),
            several => fits.get(several),
        };
        join(&mut groups, number, place);
    }
    groups
}

/// Whether two runs are of one setup, as far as they know.
fn alike(a: &Run, b: &Run) -> bool {
    let (new_a, new_b) = (&a.new_kernel, &b.new_kernel);
    (&new_a.release, &new_a.version) == (&new_b.release, &new_b.version)
        && comparable::difference(a, b).is_none()
}
