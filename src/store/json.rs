//! JSON on its way into the database, and its text.

use serde::Serialize;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgTypeInfo;
use sqlx::postgres::types::Oid;
use sqlx::{Database, Encode, Postgres, Sqlite, Type};

use crate::store::error::Result;
use crate::store::rows::damaged;

/// PostgreSQL's number for the type `json`, which never changes.
const JSON: Oid = Oid(114);

/// A text that is JSON, for a column of JSON: statements need no cast to say so. It is stored as it is.
#[derive(Debug, Clone)]
pub(super) struct Json(String);

/// A value as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<Json> {
    to_text(value).map(Json)
}

/// A value as JSON text.
pub(super) fn to_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| damaged("value", &e))
}

impl Type<Sqlite> for Json {
    fn type_info() -> <Sqlite as Database>::TypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl Encode<'_, Sqlite> for Json {
    fn encode_by_ref(
        &self,
        buffer: &mut <Sqlite as Database>::ArgumentBuffer,
    ) -> std::result::Result<IsNull, BoxDynError> {
        <String as Encode<'_, Sqlite>>::encode_by_ref(&self.0, buffer)
    }
}

impl Type<Postgres> for Json {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSON)
    }
}

impl Encode<'_, Postgres> for Json {
    fn encode_by_ref(
        &self,
        buffer: &mut <Postgres as Database>::ArgumentBuffer,
    ) -> std::result::Result<IsNull, BoxDynError> {
        <String as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}
