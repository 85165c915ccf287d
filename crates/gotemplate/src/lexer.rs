//! Cuts a template into text and actions, and actions into words.

use crate::error::{Fault, fault};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A keyword, `true`, `false`, `nil` or the name of a function.
    Word(String),
    /// `.Name`
    Field(String),
    /// `.`
    Dot,
    /// `$name`, without the `$`.
    Variable(String),
    Int(i64),
    Float(f64),
    Text(String),
    Pipe,
    Open,
    Close,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub token: Token,
    /// Offset in bytes.
    pub at: usize,
    /// Whether white space stands before it: `.A.B` is one operand, `.A .B` are two.
    pub spaced: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Text(String),
    Action { at: usize, lexemes: Vec<Lexeme> },
}

/// All pieces of a template; comments are gone and white space is trimmed.
pub(crate) fn pieces(source: &str) -> Result<Vec<Piece>, Fault> {
    let mut lexer = Lexer { source, at: 0 };
    let mut pieces = Vec::new();
    let mut trim_start = false;
    loop {
        let start = lexer.at;
        let end = lexer.rest().find("{{").map_or(source.len(), |length| start + length);
        let mut text = source.get(start..end).unwrap_or_default();
        if trim_start {
            text = text.trim_start_matches(WHITE);
        }
        lexer.at = end;
        let opened = lexer.eat("{{");
        if opened && lexer.rest().starts_with('-') && is_white(lexer.rest().chars().nth(1)) {
            lexer.at += 1;
            text = text.trim_end_matches(WHITE);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        if !opened {
            return Ok(pieces);
        }
        let mut lexemes = Vec::new();
        let is_comment = lexer.comment()?;
        trim_start = lexer.action(end, &mut lexemes)?;
        match (is_comment, lexemes.first()) {
            (true, Some(stray)) => return fault(stray.at, "a comment must end its action"),
            (true, None) => {}
            (false, None) => return fault(end, "there is nothing between {{ and }}"),
            (false, Some(_)) => pieces.push(Piece::Action { at: end, lexemes }),
        }
    }
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

fn is_white(letter: Option<char>) -> bool {
    letter.is_some_and(|letter| WHITE.contains(&letter))
}

fn is_letter(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The longest start of the rest whose letters fit.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'s str {
        let rest = self.rest();
        let taken = rest.get(..rest.find(|letter| !fits(letter)).unwrap_or(rest.len()));
        self.at += taken.unwrap_or_default().len();
        taken.unwrap_or_default()
    }

    fn white(&mut self) -> bool {
        !self.take(|letter| is_white(Some(letter))).is_empty()
    }

    fn comment(&mut self) -> Result<bool, Fault> {
        let (start, rest) = (self.at, self.rest());
        if !rest.trim_start_matches(WHITE).starts_with("/*") {
            return Ok(false);
        }
        let Some(end) = rest.find("*/") else { return fault(start, "the comment has no end") };
        self.at += end + 2;
        Ok(true)
    }

    /// Reads to the end of the action; whether it trims the text behind it.
    fn action(&mut self, start: usize, lexemes: &mut Vec<Lexeme>) -> Result<bool, Fault> {
        loop {
            let spaced = self.white();
            if spaced && self.eat("-}}") {
                return Ok(true);
            }
            if self.eat("}}") {
                return Ok(false);
            }
            let at = self.at;
            let Some(letter) = self.rest().chars().next() else {
                return fault(start, "the action has no end: }} is missing");
            };
            let token = self.token(letter)?;
            lexemes.push(Lexeme { token, at, spaced });
        }
    }

    fn token(&mut self, letter: char) -> Result<Token, Fault> {
        let second = self.rest().chars().nth(1);
        let is_number = |letter: Option<char>| letter.is_some_and(|one| one.is_ascii_digit());
        if is_number(Some(letter)) || (matches!(letter, '+' | '-' | '.') && is_number(second)) {
            return self.number();
        }
        if is_letter(letter) {
            return Ok(Token::Word(self.take(is_letter).to_owned()));
        }
        match letter {
            '"' | '\'' => return self.quoted(letter),
            '`' => return self.raw(),
            _ => {}
        }
        let start = self.at;
        self.at += letter.len_utf8();
        Ok(match letter {
            '.' => match self.take(is_letter) {
                "" => Token::Dot,
                name => Token::Field(name.to_owned()),
            },
            '$' => Token::Variable(self.take(is_letter).to_owned()),
            '|' => Token::Pipe,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '=' => Token::Assign,
            ':' if self.eat("=") => Token::Declare,
            other => return fault(start, format!("unexpected {other:?}")),
        })
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let sign = if self.eat("-") { "-" } else { "" };
        self.eat("+");
        let mut text = self.take(|letter| is_letter(letter) || letter == '.').replace('_', "");
        if text.ends_with(['e', 'E'])
            && !text.starts_with("0x")
            && self.rest().starts_with(['+', '-'])
        {
            text.push(if self.eat("-") { '-' } else { '+' });
            self.eat("+");
            text += self.take(|letter| letter.is_ascii_digit());
        }
        let lower = text.to_ascii_lowercase();
        let based = |prefix: &str, radix| {
            let digits = lower.strip_prefix(prefix).filter(|digits| !digits.is_empty())?;
            i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
        };
        let octal = || if lower.len() > 1 { based("0", 8) } else { None };
        let decimal = || format!("{sign}{lower}").parse().ok();
        let whole = based("0x", 16).or_else(|| based("0b", 2)).or_else(|| based("0o", 8));
        if let Some(number) = whole.or_else(octal).or_else(decimal) {
            return Ok(Token::Int(number));
        }
        // Rust also reads words such as `inf`; Go's numbers start with a digit or a dot.
        match format!("{sign}{lower}").parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Float(number)),
            _ => fault(start, format!("`{sign}{text}` is no number")),
        }
    }

    fn raw(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        self.at += 1;
        let text = self.take(|letter| letter != '`').to_owned();
        if self.eat("`") {
            Ok(Token::Text(text))
        } else {
            fault(start, "the text has no closing `")
        }
    }

    /// A text in double quotes, or one letter in single quotes, which is its number.
    fn quoted(&mut self, quote: char) -> Result<Token, Fault> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let at = self.at;
            let Some(letter) = self.rest().chars().next().filter(|letter| *letter != '\n') else {
                return fault(start, format!("the text has no closing {quote}"));
            };
            self.at += letter.len_utf8();
            match letter {
                '\\' => text.push(self.escaped(at)?),
                letter if letter == quote => break,
                letter => text.push(letter),
            }
        }
        let mut letters = text.chars();
        match (quote, letters.next(), letters.next()) {
            ('"', ..) => Ok(Token::Text(text)),
            (_, Some(letter), None) => Ok(Token::Int(i64::from(u32::from(letter)))),
            _ => fault(start, "single quotes hold one letter; a text stands in double quotes"),
        }
    }

    fn escaped(&mut self, at: usize) -> Result<char, Fault> {
        let letter = self.rest().chars().next().unwrap_or_default();
        self.at += letter.len_utf8();
        let digits = match letter {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => 0,
        };
        let found = match letter {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'v' => Some('\x0b'),
            '\\' | '"' | '\'' => Some(letter),
            'x' | 'u' | 'U' => {
                let code =
                    self.rest().get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
                self.at += if code.is_some() { digits } else { 0 };
                code.and_then(char::from_u32)
            }
            _ => None,
        };
        found.map_or_else(|| fault(at, "unknown escape in a text"), Ok)
    }
}
