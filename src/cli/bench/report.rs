//! What a benchmark says.

use std::time::Duration;

use super::collection::Collection;

/// A contender with the time of each round.
pub struct Measured {
    pub name: &'static str,
    pub rounds: Vec<Duration>,
}

impl Measured {
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            rounds: Vec::new(),
        }
    }

    /// The middle one; of an even number the better of both.
    pub fn median(&self) -> Duration {
        let mut rounds = self.rounds.clone();
        rounds.sort();
        rounds.get((rounds.len().max(1) - 1) / 2).copied().unwrap_or_default()
    }
}

/// The table: a line per contender, then the first one's speed by each other's.
pub fn table(collection: Collection, measured: &[Measured]) -> Vec<String> {
    let mut lines = vec![format!("{:<13} {:>10} {:>10}  seconds of each round", "", "files/s", "MB/s")];
    for contender in measured {
        let seconds = contender.median().as_secs_f64().max(1e-9);
        let rounds: Vec<String> = contender.rounds.iter().map(|r| format!("{:.2}", r.as_secs_f64())).collect();
        lines.push(format!(
            "{:<13} {:>10.0} {:>10.1}  {}",
            contender.name,
            collection.files as f64 / seconds,
            collection.bytes() as f64 / 1e6 / seconds,
            rounds.join(" ")
        ));
    }
    if let Some((first, others)) = measured.split_first() {
        for other in others {
            let ratio = other.median().as_secs_f64() / first.median().as_secs_f64().max(1e-9);
            lines.push(format!("{} reaches {:.0}% of {}", first.name, ratio * 100.0, other.name));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_ratio_are_those_of_the_rounds() {
        let of = |name, rounds: [u64; 3]| Measured {
            name,
            rounds: rounds.map(Duration::from_secs).to_vec(),
        };
        let lines = table(
            Collection::new(100, 1_000_000, 10),
            &[of("service", [4, 2, 9]), of("plain loop", [3, 3, 1])],
        );
        assert!(lines[1].contains("25") && lines[1].ends_with("4.00 2.00 9.00"), "{lines:?}");
        assert_eq!(lines[3], "service reaches 75% of plain loop");
    }
}
