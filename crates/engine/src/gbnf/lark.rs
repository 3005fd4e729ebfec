//! From a [`Grammar`] with its terminals chosen to Lark's text, in which each node has a name: what is
//! nested in parentheses costs llguidance a stack.

use std::collections::HashSet;
use std::fmt::Write;

use super::{Chars, Grammar, Node, NodeId, Wrong, too_complex};

/// llguidance recurses as deep as rules lead to rules that it has not seen.
const DEPTH_MAX: usize = 1000;
/// A name repeated often can make a text very long.
const TEXT_MAX_BYTES: usize = 2 << 20;

pub(super) fn write(grammar: &Grammar) -> Result<String, Wrong> {
    let terminals: HashSet<NodeId> = grammar.terminals.iter().copied().collect();
    let mut text = String::new();
    let mut written = HashSet::new();
    let mut todo = vec![(grammar.root, false, 1)];
    text += &format!("start: {}\n", name(grammar.root, terminals.contains(&grammar.root)));
    while let Some((node, in_terminal, depth)) = todo.pop() {
        if depth > DEPTH_MAX || text.len() > TEXT_MAX_BYTES {
            return Err(too_complex());
        }
        let is_terminal = in_terminal || terminals.contains(&node);
        if !written.insert((node, is_terminal)) {
            continue;
        }
        let part = |node: &NodeId| name(*node, is_terminal || terminals.contains(node));
        let list = |nodes: &[NodeId], between: &str| match nodes {
            [] => "\"\"".to_owned(),
            nodes => nodes.iter().map(part).collect::<Vec<_>>().join(between),
        };
        let body = match &grammar.nodes[node] {
            Node::Chars(chars) => regex(chars),
            Node::Sequence(nodes) => list(nodes, " "),
            Node::Choice(nodes) => list(nodes, " | "),
            Node::Repeat(node, 0, None) => part(node) + "*",
            Node::Repeat(node, 1, None) => part(node) + "+",
            Node::Repeat(node, 0, Some(1)) => part(node) + "?",
            Node::Repeat(node, least, None) => format!("{}{{{least},}}", part(node)),
            Node::Repeat(node, least, Some(most)) => format!("{}{{{least},{most}}}", part(node)),
            Node::Rule(_) => unreachable!("`link` has put its meaning in its place"),
        };
        text += &format!("{}: {body}\n", name(node, is_terminal));
        // In llguidance's order, so that the depth is its own.
        let children = grammar.children(&grammar.nodes[node]).iter().rev();
        todo.extend(children.map(|&child| (child, is_terminal, depth + 1)));
    }
    Ok(text)
}

fn name(node: NodeId, is_terminal: bool) -> String {
    if is_terminal { format!("T{node}") } else { format!("n{node}") }
}

fn regex(chars: &Chars) -> String {
    let mut regex = String::from("/[");
    for &(from, to) in chars.ranges() {
        let _ = write!(regex, "\\x{{{from:x}}}-\\x{{{to:x}}}");
    }
    regex + "]/"
}
