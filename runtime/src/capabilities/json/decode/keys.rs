//! Whether an object has a key twice, in time that does not depend on who chose the keys.

use std::hash::BuildHasher;

use super::parse::{Parser, Step, fault};
use super::tape::{Kind, Node, past};
use super::text::{shown, unescape};

/// The most keys of an object that are compared each with each. With more, their hashes are sorted.
const FEW_KEYS: u32 = 12;

impl Parser<'_> {
    /// Refuses the innermost object if it has a key twice.
    pub(super) fn check_keys(&mut self) -> Step {
        let Some(frame) = self.frames.last() else {
            return Ok(());
        };
        if frame.is_like_template {
            return Ok(());
        }
        let (node, count) = (frame.node, frame.count);
        let again = match count {
            0..=FEW_KEYS => self.compare_all(node),
            _ => self.compare_hashes(node),
        };
        if let Some(again) = again {
            let again = self.nodes[again as usize];
            return fault(
                again.start as usize - 1,
                format!(
                    "the object has the key `{}` twice",
                    shown(&self.name(again))
                ),
            );
        }
        let depth = self.frames.len() - 1 - usize::from(self.has_lines);
        self.templates[depth] = node;
        Ok(())
    }

    /// The keys of the object that is about to be closed.
    fn keys(&self, object: u32) -> impl Iterator<Item = u32> {
        let mut at = object + 2;
        std::iter::from_fn(move || {
            let key = ((at as usize) < self.nodes.len()).then_some(at)?;
            at = past(&self.nodes, at + 1);
            Some(key)
        })
    }

    fn compare_all(&self, object: u32) -> Option<u32> {
        let mut before = [Node::end(0, 0); FEW_KEYS as usize];
        for (count, key) in self.keys(object).enumerate() {
            let node = self.nodes[key as usize];
            if before[..count]
                .iter()
                .any(|other| self.is_same(*other, node))
            {
                return Some(key);
            }
            before[count] = node;
        }
        None
    }

    fn compare_hashes(&self, object: u32) -> Option<u32> {
        let mut hashes: Vec<(u64, u32)> = self
            .keys(object)
            .map(|key| {
                let node = self.nodes[key as usize];
                let hash = match node.kind() {
                    Kind::Escaped => self.hashes.hash_one(self.name(node).as_bytes()),
                    _ => self.hashes.hash_one(&self.bytes[node.range()]),
                };
                (hash, key)
            })
            .collect();
        hashes.sort_unstable();
        let groups = hashes.chunk_by(|(left, _), (right, _)| left == right);
        let again = groups.filter_map(|group| {
            let keys = group.iter().map(|(_, key)| self.nodes[*key as usize]);
            let is_again = |place: usize| {
                let node = self.nodes[group[place].1 as usize];
                keys.clone()
                    .take(place)
                    .any(|other| self.is_same(other, node))
            };
            (1..group.len())
                .find(|place| is_again(*place))
                .map(|place| group[place].1)
        });
        again.min()
    }

    fn is_same(&self, left: Node, right: Node) -> bool {
        match (left.kind(), right.kind()) {
            (Kind::Text, Kind::Text) => self.bytes[left.range()] == self.bytes[right.range()],
            _ => self.name(left) == self.name(right),
        }
    }

    /// What the text of `node` says.
    pub(super) fn name(&self, node: Node) -> String {
        unescape(&String::from_utf8_lossy(&self.bytes[node.range()]))
    }
}
