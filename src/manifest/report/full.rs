//! Problems with the lines they are about.

use annotate_snippets::{Annotation, AnnotationKind, Group, Level as Tone, Origin, Renderer, Snippet};

use super::{Report, Roots, escaped, harmful};
use crate::manifest::{Label, Level, Mark, Problem, Source, Sources};

/// Lines longer than this are shown in part, in bytes.
const LINE_SHOWN_BYTES: usize = 240;

/// Several lines with a line end.
pub fn full(problem: &Problem, sources: &Sources, colour: bool) -> String {
    full_from(problem, &Report { problems: &[], sources, roots: &Roots::default() }, colour)
}

/// The same, with paths as the report's reader knows them.
pub fn full_from(problem: &Problem, report: &Report, colour: bool) -> String {
    let Problem { code, level, message, labels, notes, help, fix: _ } = problem;
    let tone = match level {
        Level::Error => Tone::ERROR,
        Level::Warning => Tone::WARNING,
        Level::Note => Tone::NOTE,
    };
    let title = tone.primary_title(escaped(message)).id(code.to_string());
    let mut group = Group::with_title(title);
    for windows in by_file(labels) {
        let file = windows[0].0.mark.file;
        let (source, path) = (report.sources.get(file), escaped(&report.path(file)).into_owned());
        group = match source.text() {
            Some(text) => group.element(snippet(windows, source, text).path(path)),
            // A file that is no text has no lines to show.
            None => group.element(Origin::path(path)),
        };
    }
    for note in notes {
        group = group.element(Tone::NOTE.message(escaped(note)));
    }
    let mut groups = vec![group];
    groups.extend(help.iter().map(|help| Group::with_title(Tone::HELP.secondary_title(escaped(help)))));
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.term_width(200).render(&groups);
    text.push('\n');
    text
}

/// The labels of each file, the primary label's file first.
fn by_file(labels: &[Label]) -> Vec<Vec<(&Label, AnnotationKind)>> {
    let mut files: Vec<Vec<(&Label, AnnotationKind)>> = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let same = |file: &&mut Vec<(&Label, AnnotationKind)>| file[0].0.mark.file == label.mark.file;
        match files.iter_mut().find(same) {
            Some(file) => file.push((label, kind)),
            None => files.push(vec![(label, kind)]),
        }
    }
    files
}

fn snippet<'a>(
    labels: Vec<(&'a Label, AnnotationKind)>,
    source: &'a Source,
    text: &str,
) -> Snippet<'a, Annotation<'a>> {
    let from = labels.iter().map(|(label, _)| label.mark.start as usize).min().unwrap_or(0);
    let to = labels.iter().map(|(label, _)| label.mark.end as usize).max().unwrap_or(0);
    let from = text.as_bytes()[..from.min(text.len())]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let to = to.clamp(from, text.len());
    let to = text.as_bytes()[to..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| to + at);
    let mut excerpt = Excerpt::new(text, from..to);
    let annotations: Vec<_> = labels
        .into_iter()
        .map(|(label, kind)| kind.span(excerpt.place(label.mark)).label(escaped(&label.text)))
        .collect();
    let first = source.position(from).line as usize;
    let shown = std::mem::take(&mut excerpt.shown);
    Snippet::source(shown).line_start(first).annotations(annotations)
}

/// Part of a file as it is printed: control characters escaped, endless lines shortened.
struct Excerpt {
    shown: String,
    /// Offset in the file and in `shown` wherever the distance between the two changes.
    jumps: Vec<(usize, usize)>,
}

impl Excerpt {
    fn new(text: &str, range: std::ops::Range<usize>) -> Excerpt {
        let mut excerpt = Excerpt { shown: String::new(), jumps: vec![(range.start, 0)] };
        let mut length = 0;
        for (at, c) in text[range.clone()].char_indices() {
            let at = range.start + at;
            match c {
                '\n' => {
                    length = 0;
                    excerpt.shown.push('\n');
                }
                _ if length > LINE_SHOWN_BYTES => continue,
                '\r' if text[at..].starts_with("\r\n") => {
                    excerpt.jumps.push((at + 1, excerpt.shown.len()));
                    continue;
                }
                '\t' | '\r' => excerpt.shown.push(' '),
                c if harmful(c) => {
                    excerpt.shown.extend(c.escape_default());
                    excerpt.jumps.push((at + c.len_utf8(), excerpt.shown.len()));
                }
                c => excerpt.shown.push(c),
            }
            length += c.len_utf8();
            if length > LINE_SHOWN_BYTES {
                excerpt.shown.push('…');
                let rest = text[at..].find('\n').map_or(text.len(), |end| at + end);
                excerpt.jumps.push((rest, excerpt.shown.len()));
            }
        }
        excerpt
    }

    /// Where a mark lies in what is shown.
    fn place(&self, mark: Mark) -> std::ops::Range<usize> {
        let place = |offset: u32| {
            let offset = offset as usize;
            let at = self.jumps.partition_point(|(file, _)| *file <= offset).saturating_sub(1);
            let (file, shown) = self.jumps[at];
            let limit = self.jumps.get(at + 1).map_or(self.shown.len(), |(_, shown)| *shown);
            let mut place = (shown + offset.saturating_sub(file)).min(limit);
            while !self.shown.is_char_boundary(place) {
                place -= 1;
            }
            place
        };
        let start = place(mark.start);
        start..place(mark.end).max(start)
    }
}
