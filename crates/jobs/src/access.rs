use rbee_protocol::{ApiError, ErrorCode, PrincipalId};
use tokio_util::sync::CancellationToken;

/// Who makes a request.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Their name.
    pub id: PrincipalId,
    /// Whether they may operate the daemon itself.
    pub operator: bool,
    /// Cancelled when their key is revoked. Nothing more is sent to them then.
    pub revoked: CancellationToken,
}

/// Whom a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Everybody.
    Open,
    /// Whoever has a key, and whoever sends none: the door makes guests of them.
    Guest,
    /// Whoever has a key.
    User,
    /// Operators.
    Operator,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act<'a> {
    /// Call a route.
    Call(Permission),
    /// List the jobs of everybody.
    ListAll,
    /// Do something with the job of this owner.
    Job(JobAct, &'a PrincipalId),
}

/// What can be done with a job.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JobAct {
    /// See what is known about it besides its stream.
    Inspect,
    /// Tell it to stop.
    Cancel,
    /// Read its stream.
    Read,
}

/// Why somebody may not do what they want to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody knows who they are.
    NoKey,
    /// It is for others.
    Denied,
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoKey => Self::new(ErrorCode::Unauthorized, "the request carries no key that is known here")
                .hint(
                    "send `Authorization: Bearer <key>`; an operator gives one with `rbee key create`, and their own is in operator.key in rbee's configuration folder",
                ),
            Refusal::Denied => {
                Self::new(ErrorCode::Denied, "only an operator may do this").hint("use an operator's key")
            }
        }
    }
}

/// Decides whether `principal` may `act`: the one place that does, for every route and every job.
///
/// What is not allowed here by name is refused.
pub(crate) fn authorize(principal: Option<&Principal>, act: Act<'_>) -> Result<(), Refusal> {
    let known = principal.filter(|principal| !principal.revoked.is_cancelled());
    let allowed = match (act, known) {
        (Act::Call(Permission::Open), _) => true,
        (_, None) => return Err(Refusal::NoKey),
        (Act::Call(Permission::User | Permission::Guest), Some(_)) => true,
        (Act::Call(Permission::Operator) | Act::ListAll, Some(known)) => known.operator,
        (Act::Job(JobAct::Inspect | JobAct::Cancel, owner), Some(known)) => {
            known.operator || known.id == *owner
        }
        // What a job says is for its owner alone, whoever else may look after it.
        (Act::Job(JobAct::Read, owner), Some(known)) => known.id == *owner,
    };
    if allowed { Ok(()) } else { Err(Refusal::Denied) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_may_do_what_is_allowed_by_name_and_nothing_else() {
        const ALL: Result<(), Refusal> = Ok(());
        const KEY: Result<(), Refusal> = Err(Refusal::NoKey);
        const NO: Result<(), Refusal> = Err(Refusal::Denied);
        let principal = |name: &str, operator| {
            Some(Principal { id: PrincipalId::new(name), operator, revoked: CancellationToken::new() })
        };
        let ada = PrincipalId::new("ada");
        let revoked = principal("ada", true);
        revoked.iter().for_each(|principal| principal.revoked.cancel());

        //                 nobody, revoked, owner, another, operator, operator who owns
        let askers = [
            None,
            revoked,
            principal("ada", false),
            principal("bob", false),
            principal("op", true),
            principal("ada", true),
        ];
        for (act, expected) in [
            (Act::Call(Permission::Open), [ALL, ALL, ALL, ALL, ALL, ALL]),
            (Act::Call(Permission::Guest), [KEY, KEY, ALL, ALL, ALL, ALL]),
            (Act::Call(Permission::User), [KEY, KEY, ALL, ALL, ALL, ALL]),
            (Act::Call(Permission::Operator), [KEY, KEY, NO, NO, ALL, ALL]),
            (Act::ListAll, [KEY, KEY, NO, NO, ALL, ALL]),
            (Act::Job(JobAct::Inspect, &ada), [KEY, KEY, ALL, NO, ALL, ALL]),
            (Act::Job(JobAct::Cancel, &ada), [KEY, KEY, ALL, NO, ALL, ALL]),
            (Act::Job(JobAct::Read, &ada), [KEY, KEY, ALL, NO, NO, ALL]),
        ] {
            let decided = askers.each_ref().map(|asker| authorize(asker.as_ref(), act));
            assert_eq!(decided, expected, "{act:?}");
        }
    }
}
