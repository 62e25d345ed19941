//! What was measured: rows of figures beside their floors and goals, as a table for people, for the page, or as JSON.

use serde::{Deserialize, Serialize};

/// One line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The name by which `./bench/run` measures it.
    pub figure: String,
    /// What of it.
    pub name: String,
    /// In what it is measured.
    pub unit: String,
    /// The floor in the same unit, if the figure has one.
    pub floor: Option<Spread>,
    /// The server.
    pub value: Spread,
    /// What it is to reach.
    pub goal: Option<Goal>,
}

/// Values of one figure over the repeats of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// The one in the middle.
    pub median: f64,
    /// Below which 5 % are.
    pub low: f64,
    /// Above which 5 % are.
    pub high: f64,
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The figure over its floor.
    RatioAtLeast(f64),
    /// The same where less is better.
    RatioAtMost(f64),
    /// How much it may be above its floor, in its unit.
    AboveFloorAtMost(f64),
    /// The figure.
    AtLeast(f64),
    /// The same where less is better.
    AtMost(f64),
}

impl Row {
    /// A figure without a floor and a goal.
    pub fn new(figure: &str, name: &str, unit: &str, values: Vec<f64>) -> Self {
        let (figure, name, unit) = (figure.to_owned(), name.to_owned(), unit.to_owned());
        Self { figure, name, unit, floor: None, value: Spread::of(values), goal: None }
    }

    /// The same with its floor, measured in turns with it.
    pub fn floor(self, values: Vec<f64>) -> Self {
        Self { floor: Some(Spread::of(values)), ..self }
    }

    /// The same with its goal.
    pub fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// The median over that of the floor.
    pub fn ratio(&self) -> Option<f64> {
        self.floor.map(|floor| self.value.median / floor.median)
    }

    /// Whether the goal is reached; nothing if there is none.
    pub fn is_reached(&self) -> Option<bool> {
        let (value, ratio) = (self.value.median, self.ratio().unwrap_or(f64::NAN));
        let above = self.floor.map_or(f64::NAN, |floor| value - floor.median);
        Some(match self.goal? {
            Goal::RatioAtLeast(least) => ratio >= least,
            Goal::RatioAtMost(most) => ratio <= most,
            Goal::AboveFloorAtMost(most) => above <= most,
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
        })
    }

    /// For programs: with the ratio, and whether the goal is reached.
    pub fn json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).expect("a row serialises");
        json["ratio"] = self.ratio().into();
        json["reached"] = self.is_reached().into();
        json
    }

    /// One column a cell: figure, floor, server, ratio, goal, whether it is reached.
    fn cells(&self) -> [String; 6] {
        let reached = self.is_reached().map_or("", |is_reached| if is_reached { "yes" } else { "no" });
        [
            format!("{}: {}, {}", self.figure, self.name, self.unit),
            self.floor.map_or(String::new(), |floor| floor.text()),
            self.value.text(),
            self.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}")),
            self.goal.map_or(String::new(), |goal| goal.text(&self.unit)),
            reached.to_owned(),
        ]
    }
}

impl Spread {
    /// Of all values.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a figure without a value");
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
        Self { count: values.len(), median: at(0.5), low: at(0.05), high: at(0.95) }
    }

    fn text(&self) -> String {
        if self.count == 1 {
            return number(self.median);
        }
        format!("{} ({} to {})", number(self.median), number(self.low), number(self.high))
    }
}

impl Goal {
    fn text(self, unit: &str) -> String {
        match self {
            Self::RatioAtLeast(ratio) => format!("ratio at least {ratio}"),
            Self::RatioAtMost(ratio) => format!("ratio at most {ratio}"),
            Self::AboveFloorAtMost(most) => format!("at most {} {unit} above the floor", number(most)),
            Self::AtLeast(least) => format!("at least {}", number(least)),
            Self::AtMost(most) => format!("at most {}", number(most)),
        }
    }
}

const HEADS: [&str; 6] = ["figure", "floor", "Frontdesk", "ratio", "goal", "reached"];

/// For people at a terminal.
pub fn text(rows: &[Row]) -> String {
    let lines: Vec<_> = std::iter::once(HEADS.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |cells: &[String; 6]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// For docs/PERFORMANCE.md.
pub fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = line(&HEADS.map(str::to_owned)) + &line(&HEADS.map(|_| "---".to_owned()));
    rows.iter().fold(head, |text, row| text + &line(&row.cells()))
}

/// As many digits as mean something, thousands apart.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let text = format!("{value:.2}");
        return text.strip_suffix(".00").unwrap_or(&text).to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digit != '-' && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64, floor: f64, goal: Goal) -> Row {
        Row::new("status", "32 connections", "calls/s", vec![value]).floor(vec![floor]).goal(goal)
    }

    #[test]
    fn a_goal_is_reached_on_its_own_side() {
        let reached = |value, floor, goal| row(value, floor, goal).is_reached().unwrap();
        assert!(reached(90.0, 100.0, Goal::RatioAtLeast(0.9)) && !reached(89.0, 100.0, Goal::RatioAtLeast(0.9)));
        assert!(reached(150.0, 100.0, Goal::RatioAtMost(1.5)) && !reached(151.0, 100.0, Goal::RatioAtMost(1.5)));
        assert!(reached(150.0, 100.0, Goal::AboveFloorAtMost(50.0)));
        assert!(!reached(151.0, 100.0, Goal::AboveFloorAtMost(50.0)));
        assert!(reached(5.0, 1.0, Goal::AtLeast(5.0)) && !reached(5.0, 1.0, Goal::AtMost(4.0)));
        assert!(!reached(f64::NAN, 1.0, Goal::AtMost(4.0)));
    }

    #[test]
    fn numbers_are_read_at_a_glance() {
        let texts = [0.857, 3.0, 99.5, 100.4, 1_000.0, 1_234_567.0, -12_345.0].map(number);
        assert_eq!(texts, ["0.86", "3", "99.50", "100", "1,000", "1,234,567", "-12,345"]);
    }

    #[test]
    fn a_table_shows_floor_and_goal_beside_the_figure() {
        let rows = [row(90_000.0, 100_000.0, Goal::RatioAtLeast(0.85))];
        assert_eq!(
            markdown(&rows).lines().last().unwrap(),
            "| status: 32 connections, calls/s | 100,000 | 90,000 | 0.90 | ratio at least 0.85 | yes |"
        );
        assert_eq!((&rows[0].json()["ratio"], &rows[0].json()["reached"]), (&0.9.into(), &true.into()));
        assert!(text(&rows).lines().all(|line| line.len() < 160));
    }
}
