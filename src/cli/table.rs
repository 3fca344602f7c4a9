//! Aligned columns for people.

use super::text;

/// A table. The header decides about columns: one that begins with `>` is aligned to the right.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    to_the_right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|h| h.trim_start_matches('>').to_string()).collect(),
            to_the_right: header.iter().map(|h| h.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; control characters are taken out.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| text::clean(cell)).collect());
    }

    /// The lines, without a line end after the last one.
    pub fn render(&self) -> String {
        let lines = || std::iter::once(&self.header).chain(&self.rows);
        let width = |at: usize| {
            lines()
                .filter_map(|line| line.get(at))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let rendered = lines().map(|line| {
            let cells = line.iter().zip(&widths).zip(&self.to_the_right);
            let padded = cells.map(|((cell, width), right)| {
                if *right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
        });
        rendered.collect::<Vec<_>>().join("\n")
    }
}

/// Named values, one per line; `-` where there is nothing to say.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| match text::clean(value) {
        value if value.is_empty() => format!("{name:<width$}  -"),
        value => format!("{name:<width$}  {value}"),
    };
    pairs.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_space() {
        let mut table = Table::new(&["NAME", ">ROWS", "NOTE"]);
        table.row(["a".into(), "10".into(), String::new()]);
        table.row(["längerer".into(), "9,000".into(), "x\ny".into()]);
        assert_eq!(
            table.render(),
            "NAME       ROWS  NOTE\na            10\nlängerer  9,000  x\u{fffd}y"
        );
    }

    #[test]
    fn named_values_are_aligned() {
        assert_eq!(
            pairs(&[("name", "a".into()), ("description", String::new())]),
            "name         a\ndescription  -"
        );
    }
}
