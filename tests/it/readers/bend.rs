//! Randomly changed texts, the same each time: typing mistakes, and changes that nobody would make.

/// Pieces that mean something to one reader or another.
const PIECES: [&str; 48] = [
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\\",
    "\\\n",
    " \\ \n",
    "#",
    " # x\n",
    "\"",
    "'",
    "&",
    "&amp;",
    "&x;",
    "&#38;",
    "<",
    ">",
    "</a>",
    "<a>",
    "<!-- x -->",
    "<!--",
    "-->",
    "--",
    "]]>",
    "<![CDATA[",
    ":",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "%",
    "%end\n",
    "%post\n",
    "@",
    "*x",
    "&x ",
    "!x ",
    "---\n",
    "...\n",
    "<<: ",
    "|\n",
    "d-i ",
    "\r\n",
    "=",
    ",",
];

pub(crate) fn bend(seeds: &[String], count: usize) -> Vec<String> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|_| one(seeds, &mut dice)).collect()
}

struct Dice(u64);

impl Dice {
    /// xorshift64: a number below `limit`.
    fn roll(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

fn one(seeds: &[String], dice: &mut Dice) -> String {
    let mut text = seeds[dice.roll(seeds.len())].clone();
    for _ in 0..=dice.roll(2) {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        let at = dice.roll(lines.len());
        match dice.roll(6) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines.swap(at, 0),
            3 if lines[at].len() > 1 => {
                let place = place(&lines[at], dice);
                lines[at].remove(place);
            }
            _ => {
                let piece = PIECES[dice.roll(PIECES.len())];
                let place = place(&lines[at], dice);
                lines[at].insert_str(place, piece);
            }
        }
        text = lines.concat();
    }
    text
}

/// Where a character begins.
fn place(line: &str, dice: &mut Dice) -> usize {
    line.char_indices().map(|(at, _)| at).nth(dice.roll(line.chars().count())).unwrap_or(0)
}
