//! Which resources of a kind there are, off its watch: a watch that was taken up again lists all, and what is not in that
//! list was deleted unseen.

use std::collections::HashSet;

use kube::{
    Resource,
    runtime::{reflector::ObjectRef, watcher::Event},
};
use parking_lot::Mutex;

/// What a watch says about one resource.
#[derive(Debug)]
pub(super) enum Seen<'e, K: Resource<DynamicType = ()>> {
    /// It is there, as it is now.
    There {
        /// The resource.
        object: &'e K,
        /// It comes with a list of all: nothing may have changed.
        listed: bool,
    },
    /// It is not there any more.
    Gone(ObjectRef<K>),
}

/// The resources of a kind.
#[derive(Debug)]
pub(super) struct Listing<K: Resource<DynamicType = ()>> {
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K: Resource<DynamicType = ()>> {
    known: HashSet<ObjectRef<K>>,
    listing: HashSet<ObjectRef<K>>,
}

impl<K: Resource<DynamicType = ()>> Default for Listing<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                known: HashSet::new(),
                listing: HashSet::new(),
            }),
        }
    }
}

impl<K: Resource<DynamicType = ()> + Clone> Listing<K> {
    /// Takes an event of the watch, and tells what it says.
    pub(super) fn apply(&self, event: &Event<K>, mut tell: impl FnMut(Seen<'_, K>)) {
        match event {
            Event::Init => self.state.lock().listing.clear(),
            Event::InitApply(object) => {
                let reference = ObjectRef::from_obj(object);
                let mut state = self.state.lock();
                state.listing.insert(reference.clone());
                state.known.insert(reference);
                drop(state);
                tell(Seen::There { object, listed: true });
            }
            Event::InitDone => {
                let gone: Vec<_> = {
                    let mut state = self.state.lock();
                    let listed = std::mem::take(&mut state.listing);
                    let gone = state.known.difference(&listed).cloned().collect();
                    state.known = listed;
                    gone
                };
                for reference in gone {
                    tell(Seen::Gone(reference));
                }
            }
            Event::Apply(object) => {
                self.state.lock().known.insert(ObjectRef::from_obj(object));
                tell(Seen::There { object, listed: false });
            }
            Event::Delete(object) => {
                let reference = ObjectRef::from_obj(object);
                self.state.lock().known.remove(&reference);
                tell(Seen::Gone(reference));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Savepoint, SavepointSpec};

    fn savepoint(name: &str) -> Savepoint {
        let spec: SavepointSpec = serde_json::from_value(serde_json::json!({ "jobRef": { "name": "a" } })).unwrap();
        let mut savepoint = Savepoint::new(name, spec);
        savepoint.metadata.namespace = Some("n".to_owned());
        savepoint
    }

    #[test]
    fn what_is_not_listed_again_is_gone() {
        let listing = Listing::default();
        let told = |event: Event<Savepoint>| {
            let mut words = Vec::new();
            listing.apply(&event, |seen| {
                words.push(match seen {
                    Seen::There { object, listed } => {
                        format!(
                            "{}{}",
                            object.metadata.name.as_deref().unwrap(),
                            if listed { "*" } else { "" }
                        )
                    }
                    Seen::Gone(reference) => format!("-{}", reference.name),
                });
            });
            words.sort();
            words
        };
        let none: [&str; 0] = [];
        assert_eq!(told(Event::Init), none);
        assert_eq!(told(Event::InitApply(savepoint("a"))), ["a*"]);
        assert_eq!(told(Event::InitApply(savepoint("b"))), ["b*"]);
        assert_eq!(told(Event::InitDone), none);
        assert_eq!(told(Event::Apply(savepoint("c"))), ["c"]);
        assert_eq!(told(Event::Delete(savepoint("a"))), ["-a"]);
        // Taken up again; the list before was not finished.
        assert_eq!(told(Event::Init), none);
        assert_eq!(told(Event::InitApply(savepoint("b"))), ["b*"]);
        assert_eq!(told(Event::Init), none);
        assert_eq!(told(Event::InitApply(savepoint("d"))), ["d*"]);
        assert_eq!(told(Event::InitDone), ["-b", "-c"]);
        assert_eq!(told(Event::Init), none);
        assert_eq!(told(Event::InitDone), ["-d"]);
    }
}
