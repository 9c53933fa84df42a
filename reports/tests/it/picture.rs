//! Pictures: nothing is cut, nothing overlaps, and the same runs give the same bytes.

use std::sync::Arc;

use reports::model::{KernelSide, Run};
use reports::render::picture::{Change, Picture, PictureError, png, svg, svg_of_change};
use resvg::usvg::{self, Node, Options, Rect, Tree, fontdb};

use crate::made::{MS, full_run, run, run_without_carrier, span, spread};
use crate::recorded::{recorded, recorded_set};
use crate::tracks::{compared, with_initcalls};

fn refs(runs: &[Run]) -> Vec<&Run> {
    runs.iter().collect()
}

/// Sets of every size, with the shapes that break layouts.
fn sets() -> Vec<(&'static str, Vec<Run>)> {
    let alike = vec![run(0), run(0)];
    let mut with_holes: Vec<Run> = (0..5).map(run).collect();
    with_holes[2].phases.remove(6);
    with_holes.push(run_without_carrier(9));
    vec![
        ("recorded", vec![recorded()]),
        ("recorded set", recorded_set()),
        ("one", vec![full_run()]),
        ("two", (0..2).map(run).collect()),
        ("two alike", alike),
        ("with holes", with_holes),
        ("spread", spread(60)),
        ("many", (0..400).map(run).collect()),
    ]
}

fn drawable(picture: Picture, runs: &[Run]) -> bool {
    picture != Picture::Waterfall || runs.len() == 1
}

/// Every picture of every set.
fn all_pictures() -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    for (name, runs) in sets() {
        for picture in Picture::ALL.into_iter().filter(|p| drawable(*p, &runs)) {
            let text = svg(picture, &refs(&runs)).unwrap();
            pictures.push((format!("{picture} of {name}"), text));
        }
    }
    for change in Change::ALL {
        let compared = compared(&with_initcalls("base", 0), &with_initcalls("head", 5 * MS));
        let text = svg_of_change(change, &compared).unwrap();
        pictures.push((format!("{change:?} of a change"), text));
    }
    pictures
}

fn tree(svg: &str) -> Tree {
    let mut fonts = fontdb::Database::new();
    for font in [
        include_bytes!("../../src/render/font/Roboto-Regular.ttf").as_slice(),
        include_bytes!("../../src/render/font/Roboto-Medium.ttf"),
    ] {
        fonts.load_font_data(font.to_vec());
    }
    let options = Options {
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    Tree::from_str(svg, &options).unwrap()
}

/// Where each text lies.
fn texts(group: &usvg::Group) -> Vec<(String, Rect)> {
    let children = group.children().iter();
    children
        .flat_map(|node| match node {
            Node::Group(group) => texts(group),
            Node::Text(text) => {
                let words = text.chunks().iter().map(|chunk| chunk.text().trim());
                vec![(words.collect(), text.abs_bounding_box())]
            }
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn no_text_is_cut_and_none_lies_on_another() {
    let mut faults = Vec::new();
    for (name, svg) in all_pictures() {
        let tree = tree(&svg);
        let texts = texts(tree.root());
        assert!(texts.len() >= 6, "{name}: {} texts", texts.len());
        for (place, (text, area)) in texts.iter().enumerate() {
            let inside = area.left() >= 0.0
                && area.top() >= 0.0
                && area.right() <= tree.size().width()
                && area.bottom() <= tree.size().height();
            if !inside {
                faults.push(format!("{name}: {text:?} is cut, {area:?}"));
            }
            for (other, there) in &texts[..place] {
                let apart = area.left() >= there.right()
                    || there.left() >= area.right()
                    || area.top() >= there.bottom() - 2.0
                    || there.top() >= area.bottom() - 2.0;
                if !apart {
                    faults.push(format!("{name}: {text:?} lies on {other:?}"));
                }
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn the_same_runs_give_the_same_bytes() {
    let runs = recorded_set();
    let all = refs(&runs);
    for picture in Picture::ALL {
        let runs = if picture == Picture::Waterfall {
            &all[..1]
        } else {
            &all
        };
        let drawn = || svg(picture, runs).unwrap();
        assert_eq!(drawn(), drawn());
        let dots = || png(picture, runs).unwrap();
        assert_eq!(dots(), dots());
    }
}

#[test]
fn a_picture_says_in_words_what_it_shows_and_brings_its_font() {
    let runs = spread(60);
    let text = svg(Picture::Histogram, &refs(&runs)).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap();
    let word = |tag| {
        document
            .descendants()
            .find(|node| node.has_tag_name(tag))
            .unwrap()
            .text()
    };
    assert!(
        word("title")
            .unwrap()
            .starts_with("Blackout by length, window restore: median 4")
    );
    assert!(
        word("style")
            .unwrap()
            .starts_with("@font-face{font-family:Roboto;")
    );
    for mark in ["median ", "p90 ", "p95 "] {
        assert!(text.contains(&format!("\n{mark}")), "{mark}");
    }
    assert!(!text.contains("\np99 "), "60 runs do not carry a p99");
}

#[test]
fn the_gap_is_hatched_and_called_derived_and_nothing_else_is() {
    let runs = [recorded()];
    let text = svg(Picture::Waterfall, &refs(&runs)).unwrap();
    assert_eq!(text.matches(", derived\n").count(), 1);
    let grey = "stroke=\"#8B949E\"";
    assert!(text.matches(grey).count() > 10, "hatching of the gap");
    let mut measured = recorded();
    measured.phases[3].source = reports::model::Source::Probe;
    let text = svg(Picture::Waterfall, &[&measured]).unwrap();
    assert_eq!(text.matches(grey).count(), 0);
}

/// The widths of the bars of one colour, in points.
fn widths(svg: &str, colour: &str) -> Vec<f64> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let bars = document
        .descendants()
        .filter(|node| node.has_tag_name("rect") && node.attribute("fill") == Some(colour));
    // Those of the legend are in its last 30 points.
    let height: f64 = document
        .root_element()
        .attribute("height")
        .unwrap()
        .parse()
        .unwrap();
    let number = |node: &roxmltree::Node<'_, '_>, name| {
        node.attribute(name).unwrap().parse::<f64>().unwrap()
    };
    let bars = bars.filter(|bar| number(bar, "y") < height - 30.0);
    bars.map(|bar| number(&bar, "width")).collect()
}

#[test]
fn a_bar_of_an_icicle_is_as_wide_as_its_mean() {
    // The second of two runs lacks the call, so its mean is half as long.
    let mut runs = vec![run(0), run(0)];
    let start = runs[0].phases[5].start_t;
    runs[0].spans = vec![span(
        0,
        None,
        "initcall:a",
        KernelSide::New,
        start,
        100 * MS,
    )];
    let text = svg(Picture::Icicle, &refs(&runs)).unwrap();
    let whole: i64 = runs[0].phases.iter().map(|phase| phase.duration_ns).sum();
    #[expect(clippy::cast_precision_loss, reason = "points")]
    let points = |ns: i64| ns as f64 / whole as f64 * 760.0;
    let phase = widths(&text, "#0072B2");
    assert!(
        (phase[0] - points(runs[0].phases[5].duration_ns)).abs() <= 2.0,
        "{phase:?}"
    );
    // A sixth of the way to white.
    let call = widths(&text, "#2989BE");
    assert!((call[0] - points(50 * MS)).abs() <= 2.0, "{call:?}");
}

#[test]
fn an_icicle_of_a_change_is_red_where_it_is_longer_for_sure_and_blue_where_it_is_shorter() {
    let (short, long) = (with_initcalls("base", 0), with_initcalls("head", 5 * MS));
    let drawn = |compared| svg_of_change(Change::Icicle, &compared).unwrap();
    let (red, blue) = ("#C0392B", "#0072B2");
    let slower = drawn(compared(&short, &long));
    assert_eq!(
        (widths(&slower, red).len(), widths(&slower, blue).len()),
        (2, 0)
    );
    let faster = drawn(compared(&long, &short));
    assert_eq!(
        (widths(&faster, red).len(), widths(&faster, blue).len()),
        (0, 2)
    );
}

#[test]
fn ink_says_how_well_a_length_is_known_in_every_picture() {
    let mut unseen = full_run();
    unseen.phases[3].error_ns = 20_000_000;
    unseen.phases[1].source = reports::model::Source::Derived;
    let restart = unseen
        .spans
        .iter_mut()
        .find(|s| s.name == "kernel_restart_prepare");
    restart.unwrap().duration_ns = None;
    for picture in [Picture::Waterfall, Picture::Phases, Picture::Icicle] {
        let text = svg(picture, &[&unseen]).unwrap();
        let hatched = text.matches("stroke=\"#D55E00\"").count();
        assert!(
            hatched > 1,
            "{picture}: old.shutdown is derived, so hatched: {hatched}"
        );
    }
    for picture in [Picture::Waterfall, Picture::Icicle] {
        let text = svg(picture, &[&unseen]).unwrap();
        for word in ["measured", "derived", "its end not seen"] {
            assert!(
                text.contains(&format!("\n{word}\n")),
                "{picture} lacks {word}"
            );
        }
    }
    let text = svg(Picture::Waterfall, &[&unseen]).unwrap();
    assert!(
        text.contains("\nat most "),
        "what did not return lasted that long at most"
    );
}

#[test]
fn a_png_has_two_dots_to_the_point() {
    let runs = [recorded()];
    let bytes = png(Picture::Histogram, &refs(&runs)).unwrap();
    assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!((number(16), number(20)), (1600, 900));
}

#[test]
fn what_cannot_be_drawn_is_refused_in_a_sentence() {
    let half = [run_without_carrier(0)];
    for picture in Picture::ALL {
        let error = svg(picture, &refs(&half)).unwrap_err();
        assert!(matches!(error, PictureError::Nothing(_)), "{error}");
    }
    let runs = recorded_set();
    let error = svg(Picture::Waterfall, &refs(&runs)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a waterfall shows one run, not 34 runs; name fewer, or choose another picture"
    );
}
