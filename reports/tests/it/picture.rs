//! Pictures: nothing is cut, nothing overlaps, and the same runs give the same bytes.

use std::sync::Arc;

use reports::model::Run;
use reports::render::picture::{Picture, PictureError, png, svg};
use resvg::usvg::{self, Node, Options, Rect, Tree, fontdb};

use crate::made::{full_run, run, run_without_carrier, spread};
use crate::recorded::{recorded, recorded_set};

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
