use rbee_jobs::{Authenticate, Principal};
use rbee_protocol::PrincipalId;
use subtle::ConstantTimeEq;

/// The one key of the queen's operator.
pub(crate) struct OperatorKey(String);

impl OperatorKey {
    pub(crate) fn new(key: String) -> Self {
        Self(key)
    }
}

impl Authenticate for OperatorKey {
    fn authenticate(&self, key: &str) -> Option<Principal> {
        let same: bool = self.0.as_bytes().ct_eq(key.as_bytes()).into();
        same.then(|| Principal { id: PrincipalId::new("operator"), operator: true })
    }
}
