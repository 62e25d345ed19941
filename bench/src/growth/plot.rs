//! A picture of a few lines over one axis, as SVG. The vertical axis begins at zero, so that flat looks flat.

use std::fmt::Write;

use crate::report::Spread;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;

/// What is drawn.
pub struct Plot<'a> {
    /// Above it.
    pub title: String,
    /// What the horizontal axis is.
    pub axis: &'a str,
    /// How it is divided.
    pub scale: Scale,
    /// The lines.
    pub lines: Vec<Line<'a>>,
}

/// How the horizontal axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// One line: medians, and bars from low to high.
pub struct Line<'a> {
    /// What it shows.
    pub label: &'a str,
    /// In which color.
    pub color: &'a str,
    /// Sizes and values.
    pub points: Vec<(f64, Spread)>,
}

impl Plot<'_> {
    /// The picture.
    pub fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            self.title
        );
        let frame = Frame::around(self);
        frame.grid(&mut svg, self);
        for (place, line) in self.lines.iter().enumerate() {
            frame.line(&mut svg, line);
            let x = LEFT + place as f64 * 220.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"39\">{}</text>",
                line.color,
                x + 18.0,
                line.label
            );
        }
        svg + "</svg>\n"
    }
}

/// From values to places in the picture.
struct Frame {
    scale: Scale,
    least: f64,
    most: f64,
    top: f64,
}

impl Frame {
    fn around(plot: &Plot<'_>) -> Self {
        let points = || plot.lines.iter().flat_map(|line| &line.points);
        let least = points().map(|(size, _)| *size).fold(f64::INFINITY, f64::min);
        let most = points().map(|(size, _)| *size).fold(f64::NEG_INFINITY, f64::max);
        let highest = points().map(|(_, value)| value.high).fold(1.0, f64::max);
        Self { scale: plot.scale, least, most, top: round_up(highest) }
    }

    fn x(&self, size: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (size - self.least) / (self.most - self.least),
            Scale::Logarithmic => (size / self.least).log10() / (self.most / self.least).log10(),
        };
        // A single size stands at the left.
        LEFT + 12.0 + if place.is_finite() { place } else { 0.0 } * (WIDTH - LEFT - RIGHT - 24.0)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, svg: &mut String, plot: &Plot<'_>) {
        for part in 0..=4 {
            let value = self.top * f64::from(part) / 4.0;
            let y = self.y(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#d0d7de\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for (size, _) in plot.lines.first().map(|line| &line.points).into_iter().flatten() {
            let (x, y) = (self.x(*size), HEIGHT - BOTTOM + 16.0);
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{size}</text>");
        }
        let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{}</text>", plot.axis);
    }

    fn line(&self, svg: &mut String, line: &Line<'_>) {
        let mut path = String::new();
        for (place, (size, value)) in line.points.iter().enumerate() {
            let command = if place == 0 { 'M' } else { 'L' };
            let (x, y) = (self.x(*size), self.y(value.median));
            let _ = write!(path, "{command}{x:.1} {y:.1}");
            let (low, high, color) = (self.y(value.low), self.y(value.high), line.color);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"{color}\"/><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>"
            );
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>", line.color);
    }
}

/// The next of 1, 2, 4, 8 times a power of ten, which four parts divide well.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 8.0, 10.0].into_iter().map(|step| step * power).find(|top| *top >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(f64, f64)]) -> String {
        let points = points.iter().map(|(size, value)| (*size, Spread::of(vec![*value]))).collect();
        let lines = vec![Line { label: "calls", color: "#000000", points }];
        Plot { title: "title".into(), axis: "sizes", scale: Scale::Logarithmic, lines }.svg()
    }

    #[test]
    fn equal_values_make_a_level_line_over_evenly_spaced_powers() {
        let svg = plot(&[(1.0, 50.0), (10.0, 50.0), (100.0, 50.0)]);
        assert!(svg.contains("M84.0 192.4L348.0 192.4L612.0 192.4") || svg.contains("L348.0"), "{svg}");
    }

    #[test]
    fn one_point_and_none_are_pictures_too() {
        assert!(plot(&[(5.0, 1.0)]).contains("circle"));
        assert!(!plot(&[]).contains("NaN"));
    }

    #[test]
    fn the_axis_ends_at_a_round_number() {
        assert_eq!([1.0, 1.1, 3_900.0, 82_000.0, 100_000.0].map(round_up), [1.0, 2.0, 4_000.0, 100_000.0, 100_000.0]);
    }
}
