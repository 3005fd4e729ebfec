//! Which parts of a grammar become terminals.
//!
//! A terminal is found as fast as a regular expression; what is made of them by rules costs time at each
//! character. So the larger the terminals the better. But they are found by taking as many characters
//! as any terminal can have that is possible at the place, and what was taken is not given back: a part
//! may be a terminal only if the text that it stands for always ends where that rule lets it end. That is
//! not so where what may follow one terminal could also be more of the same, or of another that begins
//! alike. Such a terminal is taken apart, down to single characters if need be, which have no such
//! question.

use std::collections::HashSet;

use super::{Chars, Grammar, Node, NodeId, Wrong, too_complex};

/// The looks that may be taken to find out.
const EFFORT_MAX: usize = 20_000_000;
const POSITIONS_MAX: usize = 5000;
/// llguidance recurses as deep as terminals are nested.
const NESTING_MAX: usize = 400;

pub(super) fn choose(grammar: &mut Grammar) -> Result<(), Wrong> {
    let regular = regular(grammar)?;
    if regular[grammar.root] {
        grammar.terminals = vec![grammar.root];
        return Ok(());
    }
    let regular = join(grammar, regular);
    let mut choice = Choice { split: vec![false; grammar.nodes.len()], grammar, regular, effort: 0 };
    loop {
        let (rules, terminals) = choice.collect();
        let clashes = choice.clashes(&rules, &terminals)?;
        if clashes.is_empty() {
            grammar.terminals = terminals;
            return Ok(());
        }
        clashes.into_iter().for_each(|terminal| choice.split[terminal] = true);
    }
}

/// The nodes that do not contain themselves, nor anything that does.
fn regular(grammar: &Grammar) -> Result<Vec<bool>, Wrong> {
    let regular = grammar.least(|node, regular| grammar.children(node).iter().all(|&child| regular[child]));
    // Once more for each level that is defined after what uses it.
    let mut depth = vec![1_usize; grammar.nodes.len()];
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for (id, node) in grammar.nodes.iter().enumerate().filter(|(id, _)| regular[*id]) {
            let deepest = grammar.children(node).iter().map(|&child| depth[child] + 1).max().unwrap_or(1);
            if deepest > NESTING_MAX {
                return Err(too_complex());
            }
            changed |= depth[id] != deepest;
            depth[id] = deepest;
        }
    }
    Ok(regular)
}

/// Makes one node of regular ones that stand side by side.
fn join(grammar: &mut Grammar, mut regular: Vec<bool>) -> Vec<bool> {
    for id in 0..regular.len() {
        if regular[id] {
            continue;
        }
        let joined = match grammar.nodes[id].clone() {
            Node::Sequence(nodes) => {
                let mut parts = Vec::new();
                for run in nodes.chunk_by(|&one, &next| regular[one] && regular[next]) {
                    parts.push(match run {
                        [only] => *only,
                        run => grammar.add(Node::Sequence(run.to_vec())),
                    });
                }
                Node::Sequence(parts)
            }
            Node::Choice(nodes) => {
                let (plain, mut parts): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|&node| regular[node]);
                match plain[..] {
                    [] => {}
                    [only] => parts.push(only),
                    _ => parts.push(grammar.add(Node::Choice(plain))),
                }
                Node::Choice(parts)
            }
            other => other,
        };
        grammar.nodes[id] = joined;
    }
    regular.resize(grammar.nodes.len(), true);
    regular
}

struct Choice<'a> {
    grammar: &'a Grammar,
    regular: Vec<bool>,
    /// Terminals that were taken apart.
    split: Vec<bool>,
    effort: usize,
}

/// A terminal as the characters in it, and which may come after which.
struct Automaton {
    chars: Vec<NodeId>,
    after: Vec<Vec<usize>>,
    first: Vec<usize>,
    last: Vec<bool>,
    can_be_empty: bool,
}

/// Where a part of an automaton begins and ends.
struct Ends {
    first: Vec<usize>,
    last: Vec<usize>,
    can_be_empty: bool,
}

impl Choice<'_> {
    fn spend(&mut self, effort: usize) -> Result<(), Wrong> {
        self.effort += effort;
        if self.effort > EFFORT_MAX {
            return Err(too_complex());
        }
        Ok(())
    }

    fn parts(&self, node: NodeId) -> &[NodeId] {
        self.grammar.children(&self.grammar.nodes[node])
    }

    /// The nodes that become rules, outer ones mostly first, and those that become terminals.
    fn collect(&self) -> (Vec<NodeId>, Vec<NodeId>) {
        let (mut rules, mut terminals) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        let mut todo = vec![self.grammar.root];
        while let Some(node) = todo.pop() {
            if !seen.insert(node) {
                continue;
            }
            if self.regular[node] && !self.split[node] {
                terminals.push(node);
            } else {
                rules.push(node);
                todo.extend(self.parts(node).iter().rev());
            }
        }
        (rules, terminals)
    }

    /// The terminals that have to be taken apart.
    fn clashes(&mut self, rules: &[NodeId], terminals: &[NodeId]) -> Result<Vec<NodeId>, Wrong> {
        let mut automata = Vec::with_capacity(terminals.len());
        let mut clashes = Vec::new();
        for &terminal in terminals {
            match self.automaton(terminal)? {
                Some(automaton) => automata.push(automaton),
                None => clashes.push(terminal),
            }
        }
        if !clashes.is_empty() {
            return Ok(clashes);
        }
        let followers = self.followers(rules, terminals, &automata)?;
        let firsts = automata.iter().map(|automaton| self.union(&automaton.first, automaton));
        let firsts: Vec<Chars> = firsts.collect::<Result<_, _>>()?;
        for (other, &terminal) in terminals.iter().enumerate() {
            for one in 0..terminals.len() {
                self.spend(1 + firsts[one].ranges().len() + firsts[other].ranges().len())?;
                if firsts[one].meets(&firsts[other])
                    && self.clash(&automata[one], &followers[one], &automata[other])?
                {
                    clashes.push(terminal);
                    break;
                }
            }
        }
        Ok(clashes)
    }

    /// Whether a text of `one` can be the beginning of a longer one of `other` where both go on with what
    /// may follow `one`.
    fn clash(&mut self, one: &Automaton, followers: &Chars, other: &Automaton) -> Result<bool, Wrong> {
        let grammar = self.grammar;
        let chars = |automaton: &Automaton, position: usize| match &grammar.nodes[automaton.chars[position]] {
            Node::Chars(chars) => chars,
            _ => unreachable!("an automaton is made of characters"),
        };
        if followers.is_empty() {
            return Ok(false);
        }
        let mut seen = HashSet::new();
        let mut todo: Vec<(&[usize], &[usize])> = vec![(&one.first, &other.first)];
        while let Some((ours, theirs)) = todo.pop() {
            self.spend(ours.len() * theirs.len() + 1)?;
            for (&our, &their) in ours.iter().flat_map(|our| theirs.iter().map(move |their| (our, their))) {
                if !chars(one, our).meets(chars(other, their)) || !seen.insert((our, their)) {
                    continue;
                }
                let next = &other.after[their];
                if one.last[our] && next.iter().any(|&next| chars(other, next).meets(followers)) {
                    return Ok(true);
                }
                todo.push((&one.after[our], next));
            }
        }
        Ok(false)
    }

    fn union(&mut self, positions: &[usize], automaton: &Automaton) -> Result<Chars, Wrong> {
        let grammar = self.grammar;
        let mut union = Chars::default();
        for &position in positions {
            if let Node::Chars(chars) = &grammar.nodes[automaton.chars[position]] {
                self.spend(union.ranges().len() + chars.ranges().len())?;
                union.add(chars);
            }
        }
        Ok(union)
    }

    /// Which characters may follow each terminal.
    fn followers(
        &mut self,
        rules: &[NodeId],
        terminals: &[NodeId],
        automata: &[Automaton],
    ) -> Result<Vec<Chars>, Wrong> {
        let count = self.grammar.nodes.len();
        let (mut first, mut can_be_empty) = (vec![Chars::default(); count], vec![false; count]);
        for (&terminal, automaton) in terminals.iter().zip(automata) {
            first[terminal] = self.union(&automaton.first, automaton)?;
            can_be_empty[terminal] = automaton.can_be_empty;
        }
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for &rule in rules.iter().rev() {
                let parts = self.parts(rule).to_vec();
                self.spend(parts.len() + 1)?;
                let in_order = matches!(self.grammar.nodes[rule], Node::Sequence(_));
                let mut own = std::mem::take(&mut first[rule]);
                for &part in &parts {
                    self.spend(own.ranges().len() + first[part].ranges().len())?;
                    changed |= part != rule && own.add(&first[part]);
                    if in_order && !can_be_empty[part] {
                        break;
                    }
                }
                first[rule] = own;
                let empty = match &self.grammar.nodes[rule] {
                    Node::Choice(_) => parts.iter().any(|&part| can_be_empty[part]),
                    Node::Repeat(_, 0, _) => true,
                    _ => parts.iter().all(|&part| can_be_empty[part]),
                };
                changed |= empty != can_be_empty[rule];
                can_be_empty[rule] = empty;
            }
        }
        let mut follow = vec![Chars::default(); count];
        changed = true;
        while std::mem::take(&mut changed) {
            for &rule in rules {
                let parts = self.parts(rule).to_vec();
                self.spend(parts.len() + 1)?;
                let mut then = follow[rule].clone();
                match &self.grammar.nodes[rule] {
                    Node::Sequence(_) => {
                        for &part in parts.iter().rev() {
                            let ranges =
                                [&then, &follow[part], &first[part]].map(|chars| chars.ranges().len());
                            self.spend(ranges.iter().sum())?;
                            changed |= follow[part].add(&then);
                            if !can_be_empty[part] {
                                then = Chars::default();
                            }
                            then.add(&first[part]);
                        }
                        continue;
                    }
                    Node::Repeat(_, _, most) if *most != Some(1) => {
                        then.add(&first[parts[0]]);
                    }
                    _ => {}
                }
                for &part in &parts {
                    self.spend(then.ranges().len() + follow[part].ranges().len())?;
                    changed |= follow[part].add(&then);
                }
            }
        }
        Ok(terminals.iter().map(|&terminal| std::mem::take(&mut follow[terminal])).collect())
    }

    /// A terminal as an automaton; `None` for one that is too large. What is repeated up to so many times
    /// is taken for repeated without end.
    fn automaton(&mut self, terminal: NodeId) -> Result<Option<Automaton>, Wrong> {
        let mut automaton = Automaton {
            chars: Vec::new(),
            after: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
            can_be_empty: false,
        };
        let Some(ends) = self.build(terminal, &mut automaton)? else { return Ok(None) };
        automaton.last = vec![false; automaton.chars.len()];
        ends.last.iter().for_each(|&position| automaton.last[position] = true);
        automaton.first = ends.first;
        automaton.can_be_empty = ends.can_be_empty;
        Ok(Some(automaton))
    }

    /// Recurses as deep as regular nodes are nested, which is bounded.
    fn build(&mut self, node: NodeId, automaton: &mut Automaton) -> Result<Option<Ends>, Wrong> {
        self.spend(1)?;
        let grammar = self.grammar;
        Ok(match &grammar.nodes[node] {
            Node::Chars(_) => {
                let position = automaton.chars.len();
                if position == POSITIONS_MAX {
                    return Ok(None);
                }
                automaton.chars.push(node);
                automaton.after.push(Vec::new());
                Some(Ends { first: vec![position], last: vec![position], can_be_empty: false })
            }
            Node::Sequence(nodes) => {
                let mut all = Ends { first: Vec::new(), last: Vec::new(), can_be_empty: true };
                for &node in nodes {
                    let Some(next) = self.build(node, automaton)? else { return Ok(None) };
                    self.connect(&all.last, &next.first, automaton)?;
                    if all.can_be_empty {
                        all.first.extend(&next.first);
                    }
                    if !next.can_be_empty {
                        all.last.clear();
                    }
                    all.last.extend(next.last);
                    all.can_be_empty &= next.can_be_empty;
                }
                Some(all)
            }
            Node::Choice(nodes) => {
                let mut all = Ends { first: Vec::new(), last: Vec::new(), can_be_empty: false };
                for &node in nodes {
                    let Some(one) = self.build(node, automaton)? else { return Ok(None) };
                    all.first.extend(one.first);
                    all.last.extend(one.last);
                    all.can_be_empty |= one.can_be_empty;
                }
                Some(all)
            }
            &Node::Repeat(node, least, most) => {
                let Some(mut ends) = self.build(node, automaton)? else { return Ok(None) };
                if most != Some(1) {
                    self.connect(&ends.last, &ends.first, automaton)?;
                }
                ends.can_be_empty |= least == 0;
                Some(ends)
            }
            Node::Rule(_) => unreachable!("`link` has put its meaning in its place"),
        })
    }

    fn connect(&mut self, from: &[usize], to: &[usize], automaton: &mut Automaton) -> Result<(), Wrong> {
        self.spend(from.len() * to.len())?;
        from.iter().for_each(|&position| automaton.after[position].extend(to));
        Ok(())
    }
}
