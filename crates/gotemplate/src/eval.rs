//! Renders a tree, within limits.

use std::sync::Arc;

use crate::error::{Fault, fault};
use crate::format::Sink;
use crate::parser::{Base, Command, Defined, Node, Operand, Pipe};
use crate::value::Value;
use crate::{DEPTH_MAX, OUTPUT_BYTES_MAX, STEPS_MAX, functions};

pub(crate) const TOO_DEEP: &str = "too many blocks, parentheses or templates inside each other";

pub(crate) fn render(body: &[Node], defined: &Defined, data: &Value) -> Result<String, Fault> {
    let mut run = Run {
        defined,
        variables: vec![(String::new(), data.clone())],
        out: Sink::new(OUTPUT_BYTES_MAX),
        spare: OUTPUT_BYTES_MAX,
        steps: 0,
        depth: 0,
    };
    run.walk(body, data)?;
    Ok(run.out.into_text())
}

/// Where to go on after a node.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t> {
    defined: &'t Defined,
    /// Innermost last; the empty name is `$`.
    variables: Vec<(String, Value)>,
    out: Sink,
    /// Bytes that functions may still produce.
    spare: usize,
    steps: usize,
    depth: usize,
}

impl<'t> Run<'t> {
    fn step(&mut self, at: usize) -> Result<(), Fault> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return fault(at, format!("the template takes more than {STEPS_MAX} steps"));
        }
        Ok(())
    }

    fn walk(&mut self, nodes: &'t [Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    /// The nodes of a branch; its variables end with it.
    fn inside(&mut self, at: usize, nodes: &'t [Node], dot: &Value) -> Result<Flow, Fault> {
        if self.depth >= DEPTH_MAX {
            return fault(at, TOO_DEEP);
        }
        let known = self.variables.len();
        self.depth += 1;
        let flow = self.walk(nodes, dot)?;
        self.depth -= 1;
        self.variables.truncate(known);
        Ok(flow)
    }

    fn node(&mut self, node: &'t Node, dot: &Value) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => {
                self.step(0)?;
                self.out.push(text).or_else(|reason| fault(0, reason))?;
            }
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.targets.is_empty() {
                    value.show(&mut self.out).or_else(|reason| fault(pipe.at, reason))?;
                }
            }
            Node::If { test, then, otherwise } => {
                let known = self.variables.len();
                let branch = if self.pipe(test, dot)?.is_true() { then } else { otherwise };
                let flow = self.inside(test.at, branch, dot)?;
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::With { value, then, otherwise } => {
                let known = self.variables.len();
                let found = self.pipe(value, dot)?;
                let flow = match found.is_true() {
                    true => self.inside(value.at, then, &found)?,
                    false => self.inside(value.at, otherwise, dot)?,
                };
                self.variables.truncate(known);
                return Ok(flow);
            }
            Node::Range { over, each, otherwise } => return self.range(over, each, otherwise, dot),
            Node::Call { at, name, data } => self.template(*at, name, data.as_ref(), dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn template(
        &mut self,
        at: usize,
        name: &str,
        data: Option<&'t Pipe>,
        dot: &Value,
    ) -> Result<(), Fault> {
        self.step(at)?;
        let data = data.map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
        let Some(body) = self.defined.get(name) else {
            return fault(at, format!("there is no template {name:?}"));
        };
        let own = vec![(String::new(), data.clone())];
        let outer = std::mem::replace(&mut self.variables, own);
        self.inside(at, body, &data)?;
        self.variables = outer;
        Ok(())
    }

    fn range(
        &mut self,
        over: &'t Pipe,
        each: &'t [Node],
        otherwise: &'t [Node],
        dot: &Value,
    ) -> Result<Flow, Fault> {
        let known = self.variables.len();
        let (value, targets) = (self.commands(over, dot)?, over.targets.as_slice());
        let rounds: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::Nil => Box::new(std::iter::empty()),
            Value::Int(count) => {
                Box::new((0..*count).map(|one| (Value::Int(one), Value::Int(one))))
            }
            Value::List(items) => Box::new((0..).map(Value::Int).zip(items.iter().cloned())),
            Value::Map(entries) => {
                Box::new(entries.iter().map(|(key, value)| (Value::text(key), value.clone())))
            }
            other => return fault(over.at, format!("a {} has no items", other.type_name())),
        };
        let mut is_empty = true;
        for (key, item) in rounds {
            is_empty = false;
            self.step(over.at)?;
            match targets {
                [one] => self.set(one, over.declares, item.clone()),
                [one, two] => {
                    self.set(one, over.declares, key);
                    self.set(two, over.declares, item.clone());
                }
                _ => {}
            }
            let flow = self.inside(over.at, each, &item)?;
            if over.declares {
                self.variables.truncate(known);
            }
            if flow == Flow::Break {
                break;
            }
        }
        if is_empty { self.inside(over.at, otherwise, dot) } else { Ok(Flow::Next) }
    }

    fn set(&mut self, name: &str, declares: bool, value: Value) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, old)) if !declares => *old = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<Value, Fault> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.targets {
            self.set(name, pipe.declares, value.clone());
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'t Pipe, dot: &Value) -> Result<Value, Fault> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    /// `last` is the result of the command before, the last argument of this one.
    fn command(
        &mut self,
        command: &'t Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let Command { at, first, arguments } = command;
        self.step(*at)?;
        if let Base::Function(name) = &first.base {
            return self.function(*at, name, arguments, dot, last);
        }
        let mut values = Vec::new();
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        self.operand_with(first, dot, &values)
    }

    fn function(
        &mut self,
        at: usize,
        name: &str,
        arguments: &'t [Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let mut values = Vec::new();
        for argument in arguments {
            let value = self.operand(argument, dot)?;
            // `and` and `or` look no further than they have to.
            if matches!((name, value.is_true()), ("and", false) | ("or", true)) {
                return Ok(value);
            }
            values.push(value);
        }
        values.extend(last);
        let value = functions::call(name, &values, self.spare)
            .or_else(|reason| fault(at, format!("{name}: {reason}")))?;
        if let Value::Text(text) = &value {
            self.spare = self.spare.saturating_sub(text.len());
        }
        Ok(value)
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value) -> Result<Value, Fault> {
        self.step(operand.at)?;
        match &operand.base {
            Base::Function(name) => self.function(operand.at, name, &[], dot, None),
            _ => self.operand_with(operand, dot, &[]),
        }
    }

    fn operand_with(
        &mut self,
        operand: &'t Operand,
        dot: &Value,
        arguments: &[Value],
    ) -> Result<Value, Fault> {
        let Operand { at, base, fields } = operand;
        let mut value = match base {
            Base::Dot => dot.clone(),
            Base::Literal(value) => value.clone(),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(Value::Nil, |(_, value)| value.clone())
            }
            Base::Pipe(pipe) => self.pipe(pipe, dot)?,
            Base::Function(name) => return fault(*at, format!("{name} cannot be used here")),
        };
        let Some((last, before)) = fields.split_last() else {
            return match arguments {
                [] => Ok(value),
                _ => fault(*at, "this is no function, it takes no arguments"),
            };
        };
        for name in before {
            value = value.field(name, &[]).or_else(|reason| fault(*at, reason))?;
        }
        let value = value.field(last, arguments).or_else(|reason| fault(*at, reason))?;
        if let Value::Text(text) = &value {
            self.spend(*at, arguments, text)?;
        }
        Ok(value)
    }

    /// Counts what a method has made; what fields hold was there before.
    fn spend(&mut self, at: usize, arguments: &[Value], text: &Arc<str>) -> Result<(), Fault> {
        if arguments.is_empty() {
            return Ok(());
        }
        match self.spare.checked_sub(text.len()) {
            Some(spare) => self.spare = spare,
            None => return fault(at, Sink::full(OUTPUT_BYTES_MAX)),
        }
        Ok(())
    }
}
