//! What a person sees: lines that stay, and on a terminal a block below them that is drawn anew in place.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use console::{Style, Term, measure_text_width, style, truncate_str};

use crate::story::{Moment, Tone};

/// Narrower terminals cut lines; wider ones are not filled.
const WIDTH: usize = 80;
/// The block is not drawn more often.
const DRAW_EVERY: Duration = Duration::from_millis(80);

/// The output of the demo, on standard output.
pub(crate) struct Show {
    term: Term,
    /// Whether the block is shown.
    live: bool,
    block: Vec<String>,
    /// Lines of the block that are on the screen.
    drawn: usize,
    last: Option<Instant>,
}

impl Show {
    /// Nothing shown yet.
    pub(crate) fn new() -> Self {
        let term = Term::buffered_stdout();
        let live = term.is_term();
        Self {
            term,
            live,
            block: Vec::new(),
            drawn: 0,
            last: None,
        }
    }

    /// What comes next.
    pub(crate) fn heading(&mut self, text: &str) {
        self.line("");
        self.line(&style(text).bold().to_string());
    }

    /// Something was reached.
    pub(crate) fn done(&mut self, what: &str, told: &str) {
        self.line(&format!("  {} {what:<18} {}", style("✓").green(), style(told).dim()));
    }

    /// The job changed, `at` this time after what the user did.
    pub(crate) fn moment(&mut self, at: Duration, moment: &Moment) {
        let time = format!("{:>6.2} s", at.as_secs_f64());
        let phase = format!("{:<11}", moment.phase);
        let text = format!(
            "  {}  {}{}",
            style(time).dim(),
            of(moment.tone).apply_to(phase),
            moment.text
        );
        self.line(&text);
    }

    /// A line that stays. On a terminal it is wrapped between words.
    pub(crate) fn line(&mut self, text: &str) {
        self.erase();
        for line in wrapped(text, self.width()) {
            // Nobody may be reading; that is no reason to fail.
            let _ = writeln!(self.term, "{line}");
        }
        self.draw();
        let _ = self.term.flush();
    }

    /// A line for copying: never wrapped or cut.
    pub(crate) fn command(&mut self, text: &str) {
        self.erase();
        let _ = writeln!(self.term, "  {}", style(text).cyan());
        self.draw();
        let _ = self.term.flush();
    }

    /// Replaces the block. Without a terminal there is none.
    pub(crate) fn block(&mut self, lines: Vec<String>) {
        if !self.live || (self.block == lines && self.drawn > 0) {
            return;
        }
        self.block = lines;
        if self.last.is_some_and(|last| last.elapsed() < DRAW_EVERY) {
            return;
        }
        self.erase();
        self.draw();
        let _ = self.term.flush();
    }

    /// Removes the block.
    pub(crate) fn clear(&mut self) {
        self.erase();
        self.block.clear();
        let _ = self.term.flush();
    }

    /// The demo failed.
    pub(crate) fn failed(&mut self, error: &str) {
        self.clear();
        let error = error.trim_end();
        let _ = writeln!(
            std::io::stderr(),
            "\n{} {error}",
            console::style("error:").for_stderr().red().bold()
        );
    }

    /// Columns that may be used.
    fn width(&self) -> Option<usize> {
        let columns = || usize::from(self.term.size().1);
        self.live.then(|| columns().clamp(20, 200))
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            let _ = self.term.move_cursor_up(self.drawn);
            let _ = self.term.clear_to_end_of_screen();
            self.drawn = 0;
        }
    }

    fn draw(&mut self) {
        if !self.live {
            return;
        }
        let (rows, columns) = self.term.size();
        let columns = usize::from(columns).min(WIDTH);
        // A block that is higher than the screen could not be erased.
        for line in self.block.iter().take(usize::from(rows).saturating_sub(1)) {
            let _ = writeln!(self.term, "{}", truncate_str(line, columns, "…"));
            self.drawn += 1;
        }
        self.last = Some(Instant::now());
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The colour of a tone.
pub(crate) fn of(tone: Tone) -> Style {
    match tone {
        Tone::Good => Style::new().green(),
        Tone::Busy => Style::new().yellow(),
        Tone::Bad => Style::new().red().bold(),
    }
}

/// A line across, with a title.
pub(crate) fn rule(title: &str) -> String {
    let rest = WIDTH.saturating_sub(measure_text_width(title) + 4);
    format!("{} {title} {}", style("──").dim(), style("─".repeat(rest)).dim())
}

/// A row of the block.
pub(crate) fn row(word: &str, text: &str) -> String {
    format!("   {} {text}", style(format!("{word:<12}")).dim())
}

/// The text in lines of at most `width` columns; further lines are indented below the text.
fn wrapped(text: &str, width: Option<usize>) -> Vec<String> {
    const INDENT: &str = "              ";
    let Some(width) = width.filter(|width| measure_text_width(text) > *width) else {
        return vec![text.to_owned()];
    };
    let (mut lines, mut line) = (Vec::new(), String::new());
    for (index, word) in text.split(' ').enumerate() {
        let used = measure_text_width(&line) + 1 + measure_text_width(word);
        if used > width && !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, format!("{INDENT}{word}")));
        } else {
            line.push_str(if index == 0 { "" } else { " " });
            line.push_str(word);
        }
    }
    lines.push(line);
    lines
}
