//! Single fields of a row, as JSON: the others are not looked at. A list that is sorted or filtered reads one field of
//! each row, and whole rows only of the page that it shows.

use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeStruct, Serializer};
use serde_json::{Error, Map, Value};

/// One field; null if there is none of that name.
pub(super) fn one(row: &impl Serialize, field: &str) -> Value {
    let mut found = Value::Null;
    let picked = row.serialize(Pick(|name: &str| name == field, |_: &str, value| found = value));
    // A row of another form than a structure is made whole.
    if picked.is_err() {
        found = serde_json::to_value(row)
            .ok()
            .and_then(|mut row| Some(row.get_mut(field)?.take()))
            .unwrap_or_default();
    }
    found
}

/// These fields, in the order of the row.
pub(super) fn some(row: &impl Serialize, fields: &[String]) -> Map<String, Value> {
    let mut found = Map::new();
    let is_wanted = |name: &str| fields.iter().any(|field| field == name);
    let picked =
        row.serialize(Pick(is_wanted, |name: &str, value| drop(found.insert(name.to_owned(), value))));
    if let (Err(_), Ok(Value::Object(mut whole))) = (picked, serde_json::to_value(row)) {
        found = fields.iter().filter_map(|field| whole.remove_entry(field)).collect();
    }
    found
}

/// Which fields are wanted, and who takes them.
struct Pick<W, F>(W, F);

impl<W: Fn(&str) -> bool, F: FnMut(&str, Value)> SerializeStruct for Pick<W, F> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        if (self.0)(key) {
            (self.1)(key, serde_json::to_value(value)?);
        }
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Methods of a serializer for what is no structure.
macro_rules! refused {
    ($($method:ident($($kind:ty),*) -> $result:ty;)*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<$result, Error> {
            Err(Error::custom("no structure"))
        })*
    };
}

impl<W: Fn(&str) -> bool, F: FnMut(&str, Value)> Serializer for Pick<W, F> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), Error> {
        Err(Error::custom("no structure"))
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::custom("no structure"))
    }

    refused! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}
