//! Grammars in GBNF, llama.cpp's notation, for llguidance, which reads Lark's.
//!
//! GBNF knows characters only. In Lark's notation, terminals are found first and rules are made of
//! those, a terminal being as long as it can be; so what may become a terminal is the question.
//! `terminals.rs` answers it. llama.cpp's own parser is not used: it recurses as deep as the text says.

mod chars;
mod lark;
mod parse;
mod terminals;

use crate::error::EngineError;
use chars::Chars;

/// A grammar as Lark's text.
///
/// # Errors
/// [`EngineError::BadRequest`] naming the line, for what is no GBNF, cannot be done, is too complex or
/// allows no text.
pub(crate) fn to_lark(text: &str) -> Result<String, EngineError> {
    let lark = parse::parse(text).and_then(|mut grammar| {
        grammar.link()?;
        terminals::choose(&mut grammar)?;
        lark::write(&grammar)
    });
    lark.map_err(|Wrong { line, what }| {
        EngineError::bad_request(format!("line {line} of the grammar: {what}"))
    })
}

/// What is wrong with a grammar.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    what: String,
}

type NodeId = usize;
type RuleId = usize;

/// What a rule is made of.
#[derive(Debug, Clone)]
enum Node {
    /// One character of these.
    Chars(Chars),
    /// One after the other; nothing at all where there are none.
    Sequence(Vec<NodeId>),
    /// One of these.
    Choice(Vec<NodeId>),
    /// So many times at least, and at most if there is a most.
    Repeat(NodeId, u32, Option<u32>),
    /// What the rule says.
    Rule(RuleId),
}

#[derive(Debug)]
struct Rule {
    name: String,
    /// Where it is defined, or first used.
    line: usize,
    /// None until it is defined.
    body: Option<NodeId>,
}

/// A grammar with its parts as indices, so that nothing needs to recurse as deep as the text says.
#[derive(Debug, Default)]
struct Grammar {
    nodes: Vec<Node>,
    rules: Vec<Rule>,
    /// Where a text begins, once `link` has found it.
    root: NodeId,
    /// The nodes that become terminals.
    terminals: Vec<NodeId>,
}

impl Grammar {
    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Puts in the place of each rule's name what the rule says.
    fn link(&mut self) -> Result<(), Wrong> {
        if let Some(missing) = self.rules.iter().find(|rule| rule.body.is_none()) {
            let what = format!("there is no rule `{}`", missing.name);
            return Err(Wrong { line: missing.line, what });
        }
        let ends = self.least(|node, ends| match node {
            Node::Choice(nodes) => nodes.iter().any(|&node| ends[node]),
            Node::Repeat(_, 0, _) => true,
            node => self.children(node).iter().all(|&node| ends[node]),
        });
        let endless = self.rules.iter().find(|rule| rule.body.is_some_and(|body| !ends[body]));
        if let Some(Rule { name, line, .. }) = endless {
            let what = format!("no text of the rule `{name}` comes to an end");
            return Err(Wrong { line: *line, what });
        }
        let Some(root) = self.rules.iter().find(|rule| rule.name == "root").and_then(|rule| rule.body) else {
            return Err(Wrong {
                line: 1,
                what: "there is no rule `root`, with which a text begins".to_owned(),
            });
        };
        self.root = self.meaning(root);
        for id in 0..self.nodes.len() {
            let mut node = self.nodes[id].clone();
            match &mut node {
                Node::Sequence(nodes) | Node::Choice(nodes) => {
                    nodes.iter_mut().for_each(|node| *node = self.meaning(*node));
                }
                Node::Repeat(node, ..) => *node = self.meaning(*node),
                Node::Chars(_) | Node::Rule(_) => {}
            }
            self.nodes[id] = node;
        }
        Ok(())
    }

    /// What a name, or a name of a name, stands for. Names that only stand for each other come to no end.
    fn meaning(&self, mut node: NodeId) -> NodeId {
        while let [body] = self.children(&self.nodes[node])
            && matches!(self.nodes[node], Node::Rule(_))
        {
            node = *body;
        }
        node
    }

    fn children<'a>(&'a self, node: &'a Node) -> &'a [NodeId] {
        match node {
            Node::Sequence(nodes) | Node::Choice(nodes) => nodes,
            Node::Repeat(node, ..) => std::slice::from_ref(node),
            Node::Rule(rule) => self.rules[*rule].body.as_slice(),
            Node::Chars(_) => &[],
        }
    }

    /// Which nodes have a property that they have by their children's. Those that would have it only by
    /// their own have it not.
    fn least(&self, own: impl Fn(&Node, &[bool]) -> bool) -> Vec<bool> {
        let mut users: Vec<Vec<NodeId>> = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            self.children(node).iter().for_each(|&child| users[child].push(id));
        }
        let mut has = vec![false; self.nodes.len()];
        let mut changed: Vec<NodeId> = (0..self.nodes.len()).collect();
        while let Some(id) = changed.pop() {
            if !has[id] && own(&self.nodes[id], &has) {
                has[id] = true;
                changed.extend(&users[id]);
            }
        }
        has
    }
}

/// The grammar as a whole is too much.
fn too_complex() -> Wrong {
    Wrong { line: 1, what: "all in all it is too large, or nested too deep".to_owned() }
}

#[cfg(test)]
#[path = "gbnf/tests.rs"]
mod tests;
