//! Makes a tree of the pieces of a template.

use std::collections::BTreeMap;

use crate::error::{Fault, fault};
use crate::lexer::{self, Lexeme, Piece, Token};
use crate::value::Value;
use crate::{DEPTH_MAX, functions};

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Text(String),
    Print(Pipe),
    If { test: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipe, each: Vec<Node>, otherwise: Vec<Node> },
    Call { at: usize, name: String, data: Option<Pipe> },
    Break,
    Continue,
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    pub at: usize,
    /// Variables that get the result.
    pub targets: Vec<String>,
    /// Whether the targets are new.
    pub declares: bool,
    pub commands: Vec<Command>,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub at: usize,
    pub first: Operand,
    pub arguments: Vec<Operand>,
}

#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub at: usize,
    pub base: Base,
    /// `.A.B` behind the base.
    pub fields: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Base {
    Dot,
    Literal(Value),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}

pub(crate) type Defined = BTreeMap<String, Vec<Node>>;

/// The body of a template and the templates it defines.
pub(crate) fn parse(source: &str) -> Result<(Vec<Node>, Defined), Fault> {
    let pieces = lexer::pieces(source)?;
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        variables: vec![String::new()],
        defined: Defined::new(),
        loops: 0,
        depth: 0,
    };
    let (body, end) = parser.block()?;
    match end {
        None => Ok((body, parser.defined)),
        Some(end) => fault(end.at, format!("{{{{{}}}}} without a beginning", end.word)),
    }
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// Names that may be used here; the empty name is `$`.
    variables: Vec<String>,
    defined: Defined,
    /// Number of `range` around this place.
    loops: usize,
    depth: usize,
}

/// What ended a block: `end` or `else`.
struct End {
    at: usize,
    word: &'static str,
    rest: Words,
}

impl Parser {
    /// Nodes up to `end`, `else` or the end of the template.
    fn block(&mut self) -> Result<(Vec<Node>, Option<End>), Fault> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (at, lexemes) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { at, lexemes } => (at, lexemes),
            };
            let mut words = Words { lexemes, next: 0, start: at };
            match words.keyword().as_deref() {
                Some("end") => {
                    words.finish()?;
                    return Ok((nodes, Some(End { at, word: "end", rest: words })));
                }
                Some("else") => return Ok((nodes, Some(End { at, word: "else", rest: words }))),
                Some("define") => self.define(at, &mut words)?,
                Some(keyword) => nodes.push(self.action(at, keyword, words)?),
                None => {
                    let pipe = self.pipe(&mut words, 1)?;
                    words.finish()?;
                    nodes.push(Node::Print(pipe));
                }
            }
        }
        Ok((nodes, None))
    }

    fn action(&mut self, at: usize, keyword: &str, mut words: Words) -> Result<Node, Fault> {
        match keyword {
            "break" | "continue" if self.loops == 0 => {
                fault(at, format!("{{{{{keyword}}}}} outside of a range"))
            }
            "break" => words.finish().map(|()| Node::Break),
            "continue" => words.finish().map(|()| Node::Continue),
            "template" | "block" => self.call(at, keyword, words),
            _ => self.branch(at, keyword, words),
        }
    }

    fn branch(&mut self, at: usize, keyword: &str, mut words: Words) -> Result<Node, Fault> {
        self.deeper(at)?;
        let known = self.variables.len();
        let pipe = self.pipe(&mut words, if keyword == "range" { 2 } else { 1 })?;
        words.finish()?;
        self.loops += usize::from(keyword == "range");
        let (then, end) = self.block()?;
        self.loops -= usize::from(keyword == "range");
        let otherwise = self.otherwise(at, keyword, end)?;
        self.variables.truncate(known);
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If { test: pipe, then, otherwise },
            "with" => Node::With { value: pipe, then, otherwise },
            _ => Node::Range { over: pipe, each: then, otherwise },
        })
    }

    /// The nodes of an `else`, up to the `end` that both share.
    fn otherwise(
        &mut self,
        at: usize,
        keyword: &str,
        end: Option<End>,
    ) -> Result<Vec<Node>, Fault> {
        let Some(mut end) = end else {
            return fault(at, format!("{{{{{keyword}}}}} has no {{{{end}}}}"));
        };
        if end.word == "end" {
            return Ok(Vec::new());
        }
        match end.rest.keyword() {
            Some(again) if again == keyword && keyword != "range" => {
                Ok(vec![self.branch(end.at, keyword, end.rest)?])
            }
            Some(other) => fault(end.at, format!("unexpected {other} after else")),
            None => {
                end.rest.finish()?;
                let (nodes, last) = self.block()?;
                match last {
                    Some(End { word: "end", .. }) => Ok(nodes),
                    Some(last) => fault(last.at, "a second {{else}}"),
                    None => fault(at, format!("{{{{{keyword}}}}} has no {{{{end}}}}")),
                }
            }
        }
    }

    /// `template "name" data`, or `block "name" data` which also defines the template.
    fn call(&mut self, at: usize, keyword: &str, mut words: Words) -> Result<Node, Fault> {
        let name = words.name(keyword)?;
        let data = if words.peek().is_some() || keyword == "block" {
            Some(self.pipe(&mut words, 0)?)
        } else {
            None
        };
        words.finish()?;
        if keyword == "block" {
            self.body_of(at, &name)?;
        }
        Ok(Node::Call { at, name, data })
    }

    fn define(&mut self, at: usize, words: &mut Words) -> Result<(), Fault> {
        let name = words.name("define")?;
        words.finish()?;
        if self.depth > 0 {
            return fault(at, "{{define}} must stand at the top of the template");
        }
        self.body_of(at, &name)
    }

    /// Reads the body of a defined template; it knows no variable but `$`.
    fn body_of(&mut self, at: usize, name: &str) -> Result<(), Fault> {
        self.deeper(at)?;
        let variables = std::mem::replace(&mut self.variables, vec![String::new()]);
        let loops = std::mem::take(&mut self.loops);
        let (body, end) = self.block()?;
        (self.variables, self.loops) = (variables, loops);
        self.depth -= 1;
        match end {
            Some(End { word: "end", .. }) => {
                self.defined.insert(name.to_owned(), body);
                Ok(())
            }
            _ => fault(at, format!("the template {name:?} has no {{{{end}}}}")),
        }
    }

    fn deeper(&mut self, at: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { fault(at, crate::eval::TOO_DEEP) } else { Ok(()) }
    }

    /// Commands up to the end of the action or a closing parenthesis; `targets` is how many
    /// variables may take the result.
    fn pipe(&mut self, words: &mut Words, targets: usize) -> Result<Pipe, Fault> {
        let at = words.at();
        let (names, declares) = words.targets(targets)?;
        if !declares && let Some(unknown) = names.iter().find(|name| !self.variables.contains(name))
        {
            return fault(at, format!("undefined variable ${unknown}"));
        }
        let mut commands = vec![self.command(words)?];
        while words.take(&Token::Pipe) {
            commands.push(self.command(words)?);
        }
        if declares {
            self.variables.extend(names.iter().cloned());
        }
        Ok(Pipe { at, targets: names, declares, commands })
    }

    fn command(&mut self, words: &mut Words) -> Result<Command, Fault> {
        let at = words.at();
        let Some(first) = self.operand(words)? else { return fault(at, "a value is missing here") };
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand(words)? {
            arguments.push(argument);
        }
        Ok(Command { at, first, arguments })
    }

    fn operand(&mut self, words: &mut Words) -> Result<Option<Operand>, Fault> {
        let begins =
            |next: &Lexeme| !matches!(next.token, Token::Pipe | Token::Close | Token::Comma);
        let Some(Lexeme { token, at, .. }) =
            words.next_if(|next| begins(next) && !is_sign(&next.token))
        else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let base = match token {
            Token::Dot => Base::Dot,
            Token::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            Token::Int(number) => Base::Literal(Value::Int(number)),
            Token::Float(number) => Base::Literal(Value::Float(number)),
            Token::Text(text) => Base::Literal(Value::text(&text)),
            Token::Variable(name) if self.variables.contains(&name) => Base::Variable(name),
            Token::Variable(name) => return fault(at, format!("undefined variable ${name}")),
            Token::Word(word) => word_base(at, word)?,
            _ => {
                self.deeper(at)?;
                let inner = self.pipe(words, 0)?;
                self.depth -= 1;
                if !words.take(&Token::Close) {
                    return fault(at, "the parenthesis is not closed");
                }
                Base::Pipe(Box::new(inner))
            }
        };
        let chained = |next: &Lexeme| !next.spaced && matches!(next.token, Token::Field(_));
        while let Some(Lexeme { token: Token::Field(name), .. }) = words.next_if(chained) {
            fields.push(name);
        }
        if !fields.is_empty() && matches!(base, Base::Literal(_) | Base::Function(_)) {
            return fault(at, "only a value in parentheses has fields here");
        }
        Ok(Some(Operand { at, base, fields }))
    }
}

fn word_base(at: usize, word: String) -> Result<Base, Fault> {
    Ok(match word.as_str() {
        "true" => Base::Literal(Value::Bool(true)),
        "false" => Base::Literal(Value::Bool(false)),
        "nil" => Base::Literal(Value::Nil),
        name if functions::exists(name) => Base::Function(word),
        name => {
            let known = functions::NAMES.join(", ");
            return fault(at, format!("unknown function {name}; there are {known}"));
        }
    })
}

const KEYWORDS: [&str; 10] =
    ["if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"];

/// The words of one action.
struct Words {
    lexemes: Vec<Lexeme>,
    next: usize,
    /// Place of the action.
    start: usize,
}

impl Words {
    fn peek(&self) -> Option<&Lexeme> {
        self.lexemes.get(self.next)
    }

    fn next_if(&mut self, fits: impl Fn(&Lexeme) -> bool) -> Option<Lexeme> {
        let found = self.peek().filter(|next| fits(next)).cloned();
        self.next += usize::from(found.is_some());
        found
    }

    /// Place of the next word, or of the last if there is none.
    fn at(&self) -> usize {
        let next = self.peek().or_else(|| self.lexemes.last());
        next.map_or(self.start, |lexeme| lexeme.at)
    }

    fn keyword(&mut self) -> Option<String> {
        let is_keyword = |next: &Lexeme| matches!(&next.token, Token::Word(word) if KEYWORDS.contains(&word.as_str()));
        match self.next_if(is_keyword)?.token {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn take(&mut self, token: &Token) -> bool {
        self.next_if(|next| next.token == *token).is_some()
    }

    fn name(&mut self, keyword: &str) -> Result<String, Fault> {
        let at = self.at();
        match self.next_if(|next| matches!(next.token, Token::Text(_))).map(|next| next.token) {
            Some(Token::Text(name)) => Ok(name),
            _ => fault(at, format!("{keyword} needs the name of a template in quotes")),
        }
    }

    /// Up to `most` variables before `:=` or `=`, and whether they are new.
    fn targets(&mut self, most: usize) -> Result<(Vec<String>, bool), Fault> {
        let at = self.at();
        let rest = self.lexemes.get(self.next..).unwrap_or_default();
        let tokens: Vec<&Token> = rest.iter().take(4).map(|lexeme| &lexeme.token).collect();
        let (names, sign) = match *tokens.as_slice() {
            [Token::Variable(one), sign, ..] if is_sign(sign) => (vec![one.clone()], sign.clone()),
            [Token::Variable(one), Token::Comma, Token::Variable(two), sign] if is_sign(sign) => {
                (vec![one.clone(), two.clone()], sign.clone())
            }
            _ => return Ok((Vec::new(), false)),
        };
        if names.len() > most || names.contains(&String::new()) {
            return fault(at, "a variable cannot be set here, or not so many");
        }
        self.next += 2 * names.len();
        Ok((names, sign == Token::Declare))
    }

    fn finish(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(stray) => fault(stray.at, "the action should end here"),
        }
    }
}

fn is_sign(token: &Token) -> bool {
    matches!(token, Token::Declare | Token::Assign)
}
