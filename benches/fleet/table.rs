//! What was measured, and what fell short.

/// Rows of what was measured.
pub struct Table {
    rows: Vec<[String; 4]>,
    short: Vec<String>,
}

impl Table {
    pub fn new() -> Self {
        Self {
            rows: Vec::new(),
            short: Vec::new(),
        }
    }

    /// Adds a row; `target` is the measured number and the most it may be.
    pub fn row(&mut self, group: &str, what: &str, value: String, target: Option<(f64, f64)>) {
        let verdict = match target {
            None => String::new(),
            // A tick is never exactly as long as the interval; half a percent is the clock.
            Some((measured, most)) if measured <= most * 1.005 => format!("ok (≤ {most})"),
            Some((measured, most)) => {
                let by = if most > 0.0 {
                    format!("{:.0} %", (measured / most - 1.0) * 100.0)
                } else {
                    format!("{measured}")
                };
                self.short
                    .push(format!("{group}: {what}: {value}, target ≤ {most}, short by {by}"));
                format!("SHORT (≤ {most})")
            }
        };
        eprintln!("  {what}: {value} {verdict}");
        self.rows.push([group.to_owned(), what.to_owned(), value, verdict]);
    }

    /// Prints everything.
    pub fn print(&self) {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2), width(3)];
        println!();
        for row in &self.rows {
            let [a, b, c, d] = row;
            let [wa, wb, wc, wd] = widths;
            println!("| {a:wa$} | {b:wb$} | {c:wc$} | {d:wd$} |");
        }
        println!();
        if self.short.is_empty() {
            println!("Every target was reached.");
        }
        self.short.iter().for_each(|line| println!("Fell short: {line}"));
    }
}
