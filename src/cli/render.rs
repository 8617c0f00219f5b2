//! Problems as a person reads them: each with its line, the marked value, what is allowed and what to do.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

use crate::run::wording::counted;
use crate::scenario::{Problem, Severity, Source};

/// Lists problems with excerpts from the texts they lie in, then their count.
///
/// A problem without place, or in none of the texts, is shown without excerpt. With `color` the text carries ANSI
/// styles; pass `false` where it doesn't go to a terminal. Empty without problems.
pub fn render_problems(problems: &[Problem], sources: &[Source], color: bool) -> String {
    // Nobody reads thousands of messages; the first of them are the ones to fix.
    const MOST_SHOWN: usize = 100;
    if problems.is_empty() {
        return String::new();
    }
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for problem in problems.iter().take(MOST_SHOWN) {
        let _ = write!(text, "{}\n\n", renderer.render(&[group(problem, sources)]));
    }
    if problems.len() > MOST_SHOWN {
        let _ = write!(text, "… and {} more\n\n", problems.len() - MOST_SHOWN);
    }
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let counts = [(errors, "error"), (problems.len() - errors, "warning")];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts.map(|(count, name)| counted(*count, name)).collect();
    let _ = writeln!(text, "{}", counts.join(", "));
    text
}

fn group<'a>(problem: &'a Problem, sources: &'a [Source]) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(normalize_untrusted_str(&problem.message)));
    // A check that knows the meaning may not say the key, and the key may be missing from the file.
    let key = problem.path.rsplit('.').next().unwrap_or_default();
    let mut is_key_shown = problem.message.contains(key);
    let mut is_shown = false;
    if let (Some(origin), Some(span)) = (&problem.origin, &problem.span) {
        let excerpt = sources.iter().find(|source| source.origin == *origin).map(|source| excerpt(&source.text, span));
        group = match excerpt {
            Some(excerpt) if excerpt.line.len() <= LONGEST_LINE => {
                is_shown = !excerpt.marked.is_empty();
                is_key_shown |= excerpt.line.contains(key);
                let mark = AnnotationKind::Primary.span(excerpt.marked);
                let snippet = Snippet::source(excerpt.line).line_start(excerpt.number).path(origin.as_str());
                group.element(snippet.annotation(mark))
            }
            Some(excerpt) => {
                let column = excerpt.line[..excerpt.marked.start].chars().count() + 1;
                group.element(Origin::path(origin.as_str()).line(excerpt.number).char_column(column))
            }
            None => group.element(Origin::path(origin.as_str())),
        };
    }
    let notes = [
        ("key", Some(&problem.path).filter(|_| !is_key_shown)),
        ("found", problem.value.as_ref().filter(|_| !is_shown)),
        ("allowed", problem.allowed.as_ref()),
        ("hint", problem.hint.as_ref()),
        ("met", problem.met.as_ref()),
    ];
    for (name, note) in notes {
        if let Some(note) = note {
            group = group.element(Level::NOTE.with_name(name).message(normalize_untrusted_str(note)));
        }
    }
    group
}

/// Longer lines are no help in a terminal; they are named but not shown.
const LONGEST_LINE: usize = 300;

/// The first line of a span.
struct Excerpt<'a> {
    line: &'a str,
    /// Counted from one.
    number: usize,
    /// The bytes to mark within the line.
    marked: Range<usize>,
}

fn excerpt<'a>(text: &'a str, span: &Range<usize>) -> Excerpt<'a> {
    let boundary = |at: usize| (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let start = boundary(span.start);
    let begin = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line = text[begin..end].trim_end_matches('\r');
    let clamp = |at: usize| at.saturating_sub(begin).min(line.len());
    let marked = clamp(start)..clamp(boundary(span.end)).max(clamp(start));
    Excerpt { line, number: text[..begin].matches('\n').count() + 1, marked }
}
