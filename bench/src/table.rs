//! What was measured, as a table for people or as JSON.

/// A table of figures.
pub struct Table {
    title: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
    /// The median of the floor, in the same unit.
    floor: Option<f64>,
}

impl Table {
    /// An empty one.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), rows: Vec::new() }
    }

    /// Adds what was measured under a name, and returns its median.
    pub fn add(&mut self, name: &str, unit: &'static str, mut values: Vec<f64>, floor: Option<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        self.rows.push(Row { name: name.to_owned(), unit, values, floor });
        self.rows[self.rows.len() - 1].median()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{:<34} {:>10} {:>22} {:>8}", self.title, "", "median", "5 % .. 95 %", "ratio");
        for row in &self.rows {
            let range = format!("{:.2} .. {:.2}", row.at(0.05), row.at(0.95));
            let ratio = row.floor.map_or(String::new(), |floor| format!("{:.2}", row.median() / floor));
            text += &format!("\n{:<34} {:>10.2} {range:>22} {ratio:>8}  {}", row.name, row.median(), row.unit);
        }
        text
    }

    /// For programs: one object.
    pub fn json(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        format!("{{\"title\":\"{}\",\"rows\":[{}]}}", self.title, rows.join(","))
    }
}

impl Row {
    fn median(&self) -> f64 {
        self.at(0.5)
    }

    fn at(&self, part: f64) -> f64 {
        let last = self.values.len().saturating_sub(1);
        self.values.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
    }

    fn json(&self) -> String {
        let ratio = self.floor.map_or("null".to_owned(), |floor| format!("{:.4}", self.median() / floor));
        format!(
            "{{\"name\":\"{}\",\"unit\":\"{}\",\"count\":{},\"median\":{:.3},\"low\":{:.3},\"high\":{:.3},\"ratio\":{ratio}}}",
            self.name,
            self.unit,
            self.values.len(),
            self.median(),
            self.at(0.05),
            self.at(0.95)
        )
    }
}
