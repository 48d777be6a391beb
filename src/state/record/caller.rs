//! Who caused something: how that is known (1 byte: 1 a user of the host, 2 a token, 3 the daemon, 4 a machine, 5 a
//! webhook), the role (1 byte: 1 viewer, 2 editor, 3 admin, 4 claimer), then the number of the user or the name of the token,
//! if it is one. Numbers lie in files: none changes, and none is used twice.

use super::bytes::{Reader, field, number};
use crate::model::{By, Caller, Role, Token};

pub(super) fn bytes(Caller { by, role }: &Caller) -> Vec<u8> {
    let code = match by {
        By::User(_) => 1,
        By::Token(_) => 2,
        By::Daemon => 3,
        By::Machine => 4,
        By::Webhook => 5,
    };
    let mut out = vec![code, role_code(*role)];
    match by {
        By::User(uid) => number((*uid).into(), &mut out),
        By::Token(token) => field(token.name().as_bytes(), &mut out),
        By::Daemon | By::Machine | By::Webhook => {}
    }
    out
}

/// `None` for a caller of a later version.
pub(super) fn read(bytes: &[u8]) -> Option<Caller> {
    let mut reader = Reader(bytes);
    let (code, role) = (reader.byte()?, reader.byte()?);
    let by = match code {
        1 => By::User(reader.number()?.try_into().ok()?),
        2 => By::Token(Token::of(reader.text()?)?),
        3 => By::Daemon,
        4 => By::Machine,
        5 => By::Webhook,
        _ => return None,
    };
    Some(Caller { by, role: self::role(role)? })
}

pub(super) fn role_code(role: Role) -> u8 {
    match role {
        Role::Viewer => 1,
        Role::Editor => 2,
        Role::Admin => 3,
        Role::Claimer => 4,
    }
}

/// `None` for a role of a later version.
pub(super) fn role(code: u8) -> Option<Role> {
    Role::ALL.into_iter().find(|known| role_code(*known) == code)
}
