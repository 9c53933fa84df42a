//! All lines that pass under a set of ceilings and over a set of floors.
//!
//! In the plane of (slope, offset) they form a convex polygon: for one slope
//! the offset lies between the highest floor and the lowest ceiling, and only
//! the hulls of both sets ever decide. Whatever is monotonic along a line,
//! such as its value at one place, has its extremes at a corner.

/// A point that lines must not cross.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
}

/// `y = offset + slope * x`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub slope: f64,
    pub offset: f64,
}

impl Line {
    pub fn at(&self, x: f64) -> f64 {
        self.slope.mul_add(x, self.offset)
    }
}

/// Corners of the polygon of lines with a slope in `slopes` that come no further than
/// `room` over the ceilings and under the floors, or how far the tightest of these are in
/// each other's way.
pub(super) fn corners(
    ceilings: &[Point],
    floors: &[Point],
    room: f64,
    slopes: (f64, f64),
) -> Result<Vec<Line>, f64> {
    let ceilings = hull(ceilings, 1.0);
    let floors = hull(floors, -1.0);
    let lowest_ceiling = |slope: f64| {
        ceilings
            .iter()
            .map(|p| p.y + room - slope * p.x)
            .fold(f64::INFINITY, f64::min)
    };
    let highest_floor = |slope: f64| {
        floors
            .iter()
            .map(|p| p.y - room - slope * p.x)
            .fold(f64::NEG_INFINITY, f64::max)
    };

    let mut bends: Vec<f64> = edges(&ceilings)
        .chain(edges(&floors))
        .filter(|slope| slopes.0 < *slope && *slope < slopes.1)
        .chain([slopes.0, slopes.1])
        .collect();
    bends.sort_by(f64::total_cmp);
    // Between two bends the distance is linear in the slope, and overall concave.
    let apart: Vec<f64> = bends
        .iter()
        .map(|s| lowest_ceiling(*s) - highest_floor(*s))
        .collect();
    let best = (0..apart.len())
        .max_by(|a, b| apart[*a].total_cmp(&apart[*b]))
        .unwrap_or(0);
    if apart[best] < 0.0 {
        return Err(-apart[best]);
    }
    let first = (0..best).rev().find(|i| apart[*i] < 0.0);
    let last = (best + 1..apart.len()).find(|i| apart[*i] < 0.0);
    let crossing = |out: usize, inside: usize| {
        let share = apart[inside] / (apart[inside] - apart[out]);
        bends[inside] + (bends[out] - bends[inside]) * share
    };
    let inner = first.map_or(0, |i| i + 1)..last.unwrap_or(bends.len());
    let kept = first
        .map(|i| crossing(i, i + 1))
        .into_iter()
        .chain(bends[inner].iter().copied())
        .chain(last.map(|i| crossing(i, i - 1)));
    Ok(kept
        .flat_map(|slope| {
            [lowest_ceiling(slope), highest_floor(slope)].map(|offset| Line { slope, offset })
        })
        .collect())
}

/// The lower (`side` 1) or upper (`side` -1) convex hull, by ascending `x`.
fn hull(points: &[Point], side: f64) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| {
        a.x.total_cmp(&b.x)
            .then((side * a.y).total_cmp(&(side * b.y)))
    });
    sorted.dedup_by(|b, a| a.x.total_cmp(&b.x).is_eq());
    let mut hull: Vec<Point> = Vec::with_capacity(sorted.len());
    for point in sorted {
        while let [.., a, b] = hull[..] {
            let turn = (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x);
            if side * turn > 0.0 {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    hull
}

fn edges(hull: &[Point]) -> impl Iterator<Item = f64> + '_ {
    hull.windows(2)
        .map(|pair| (pair[1].y - pair[0].y) / (pair[1].x - pair[0].x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(list: &[(f64, f64)]) -> Vec<Point> {
        list.iter().map(|&(x, y)| Point { x, y }).collect()
    }

    #[test]
    fn a_channel_gives_its_crossing_diagonals() {
        let lines = corners(
            &points(&[(0.0, 1.0), (10.0, 1.0)]),
            &points(&[(0.0, -1.0), (10.0, -1.0)]),
            0.0,
            (-5.0, 5.0),
        )
        .unwrap();
        let steepest = lines.iter().map(|line| line.slope).fold(f64::MIN, f64::max);
        let highest = lines
            .iter()
            .map(|line| line.at(20.0))
            .fold(f64::MIN, f64::max);
        assert!((steepest - 0.2).abs() < 1e-12, "{steepest}");
        assert!((highest - 3.0).abs() < 1e-12, "{highest}");
    }

    #[test]
    fn a_floor_above_a_ceiling_leaves_no_line_and_says_by_how_much() {
        let ceilings = points(&[(0.0, 1.0), (5.0, -4.0), (10.0, 1.0)]);
        let floors = points(&[(0.0, 0.0), (5.0, -5.0), (10.0, 0.0)]);
        let gap = corners(&ceilings, &floors, 0.0, (-5.0, 5.0)).unwrap_err();
        assert!((gap - 4.0).abs() < 1e-12, "{gap}");
    }

    #[test]
    fn one_anchor_is_held_by_the_slopes_alone() {
        let lines = corners(
            &points(&[(0.0, 1.0)]),
            &points(&[(0.0, -1.0)]),
            0.0,
            (-2.0, 3.0),
        )
        .unwrap();
        let lowest = lines
            .iter()
            .map(|line| line.at(10.0))
            .fold(f64::MAX, f64::min);
        assert!((lowest - -21.0).abs() < 1e-12, "{lowest}");
    }
}
