//! How often times were seen, in buckets that are at most 1/64 of their value wide.

/// Buckets of one power of two.
const FINE: u64 = 64;

/// Times in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, nanoseconds: u64) {
        let place = place(nanoseconds);
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.total += 1;
    }

    /// Adds all that another has counted.
    pub fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The middle of the bucket that this part of the times does not exceed; no number if none was counted.
    pub fn at(&self, part: f64) -> f64 {
        let wanted = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return middle(place as u64);
            }
        }
        f64::NAN
    }
}

/// Values below 2 * `FINE` have buckets of their own; above, each power of two has `FINE`.
fn place(value: u64) -> usize {
    let shift = (64 - value.leading_zeros()).saturating_sub(FINE.trailing_zeros() + 1);
    (u64::from(shift) * FINE + (value >> shift)) as usize
}

fn middle(place: u64) -> f64 {
    if place < 2 * FINE {
        return place as f64;
    }
    let shift = place / FINE - 1;
    let low = (place - shift * FINE) << shift;
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_found_again_within_a_64th() {
        for value in (0..300).chain((8..50).flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 12_345])) {
            let found = middle(place(value) as u64);
            assert!((found - value as f64).abs() <= value as f64 / 64.0, "{value} became {found}");
        }
    }

    #[test]
    fn parts_of_a_merged_histogram_are_those_of_all_its_values() {
        let (mut low, mut high) = (Histogram::default(), Histogram::default());
        (1..=50).for_each(|value| low.add(value));
        (51..=100).for_each(|value| high.add(value));
        low.merge(&high);
        assert_eq!([low.at(0.0), low.at(0.5), low.at(0.99), low.at(1.0)], [1.0, 50.0, 99.0, 100.0]);
    }
}
