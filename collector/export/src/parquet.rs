//! Apache Parquet: the columns of a row with their types, names as dictionaries, sources as a list of structs, in row
//! groups of a million rows under zstd. The file's metadata say what the trace is of (`ggscope.info`).

use super::rows::{self, Row, Src};
use arrow_array::builder::{
    ArrayBuilder, FixedSizeListBuilder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    StringDictionaryBuilder, StructBuilder, UInt32Builder, UInt64Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema};
use ggscope_query::dump::Filter;
use ggscope_query::info::info;
use ggscope_trace::Trace;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use std::io::{self, Write};
use std::sync::Arc;

/// Rows that are collected before they are encoded.
const BATCH_ROWS: usize = 1 << 15;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;
/// Bytes of a row group that is not finished: all of it is kept until then.
const GROUP_BYTES: usize = 128 << 20;

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    }
}

fn contradicts(error: ArrowError) -> io::Error {
    io::Error::other(error)
}

/// Writes the rows that the filter lets through, and returns how many there are.
pub fn write(trace: &Trace, filter: &Filter, out: &mut (dyn Write + Send)) -> io::Result<u64> {
    let facts = vec![
        KeyValue::new("ggscope.version".into(), env!("CARGO_PKG_VERSION").to_owned()),
        KeyValue::new("ggscope.info".into(), serde_json::to_string(&info(trace, None))?),
    ];
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(failed)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .set_key_value_metadata(Some(facts))
        .build();
    let mut columns = Columns::default();
    let schema = Arc::new(Schema::new(Columns::fields()));
    let mut out = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(failed)?;
    let finish = |columns: &mut Columns, out: &mut ArrowWriter<_>| -> io::Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns.finish()).map_err(contradicts)?;
        out.write(&batch).map_err(failed)
    };
    let rows = rows::for_each(trace, filter, |row| {
        columns.append(row);
        if columns.eval.len() >= BATCH_ROWS { finish(&mut columns, &mut out) } else { Ok(()) }
    })?;
    finish(&mut columns, &mut out)?;
    out.close().map_err(failed)?;
    Ok(rows)
}

type Names = StringDictionaryBuilder<Int32Type>;
type Shapes = FixedSizeListBuilder<Int64Builder>;

/// A column and whether it may be null.
macro_rules! columns {
    ($($name:ident: $builder:ty = $new:expr, $nullable:expr;)*) => {
        /// The rows that are not encoded yet.
        struct Columns {
            $($name: $builder,)*
        }

        impl Default for Columns {
            fn default() -> Columns {
                Columns { $($name: $new,)* }
            }
        }

        impl Columns {
            fn fields() -> Vec<Field> {
                let mut empty = Columns::default();
                vec![$(Field::new(stringify!($name), empty.$name.finish().data_type().clone(), $nullable),)*]
            }

            /// The columns, which are empty afterwards.
            fn finish(&mut self) -> Vec<ArrayRef> {
                vec![$(ArrayBuilder::finish(&mut self.$name),)*]
            }
        }
    };
}

columns! {
    eval: UInt64Builder = UInt64Builder::new(), false;
    seq: UInt64Builder = UInt64Builder::new(), false;
    graph: UInt32Builder = UInt32Builder::new(), false;
    context: UInt32Builder = UInt32Builder::new(), false;
    thread: UInt32Builder = UInt32Builder::new(), false;
    token: UInt64Builder = UInt64Builder::new(), true;
    token_id: Int32Builder = Int32Builder::new(), true;
    token_text: Names = Names::new(), true;
    pos: Int32Builder = Int32Builder::new(), true;
    n_tokens: UInt32Builder = UInt32Builder::new(), false;
    phase: Names = Names::new(), true;
    request: UInt32Builder = UInt32Builder::new(), true;
    node: UInt32Builder = UInt32Builder::new(), false;
    op: Names = Names::new(), false;
    name: Names = Names::new(), false;
    layer: UInt32Builder = UInt32Builder::new(), true;
    node_type: Names = Names::new(), false;
    device: Names = Names::new(), true;
    t_ns: UInt64Builder = UInt64Builder::new(), false;
    dur_ns: UInt64Builder = UInt64Builder::new(), true;
    fused_into: UInt32Builder = UInt32Builder::new(), true;
    run: UInt64Builder = UInt64Builder::new(), true;
    run_dur_ns: UInt64Builder = UInt64Builder::new(), true;
    dst_type: Names = Names::new(), false;
    dst_shape: Shapes = shapes(), false;
    dst_bytes: UInt64Builder = UInt64Builder::new(), false;
    dst_buffer: Names = Names::new(), true;
    dst_addr: UInt64Builder = UInt64Builder::new(), false;
    experts: ListBuilder<Int32Builder> = ListBuilder::new(Int32Builder::new()), true;
    src: ListBuilder<StructBuilder> = sources(), false;
}

fn shapes() -> Shapes {
    FixedSizeListBuilder::new(Int64Builder::new(), 4).with_field(Field::new("item", DataType::Int64, false))
}

fn append_shape(shapes: &mut Shapes, shape: &[i64; 4]) {
    shapes.values().append_slice(shape);
    shapes.append(true);
}

/// Fields of the struct in `src`, in the order of [`Src`]. Its names are plain strings, because dictionaries in lists are
/// not what every reader expects; Parquet stores each once a row group all the same.
fn sources() -> ListBuilder<StructBuilder> {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::UInt64, false);
    let of_shape = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Int64, false)), 4);
    let fields = Fields::from(vec![
        text("name"),
        text("type"),
        Field::new("shape", of_shape, false),
        number("bytes"),
        Field::new("layer", DataType::UInt32, true),
        text("memory"),
        text("place"),
        number("start"),
    ]);
    let builders: Vec<Box<dyn ArrayBuilder>> = vec![
        Box::new(StringBuilder::new()),
        Box::new(StringBuilder::new()),
        Box::new(shapes()),
        Box::new(UInt64Builder::new()),
        Box::new(UInt32Builder::new()),
        Box::new(StringBuilder::new()),
        Box::new(StringBuilder::new()),
        Box::new(UInt64Builder::new()),
    ];
    let item = Field::new("item", DataType::Struct(fields.clone()), false);
    ListBuilder::new(StructBuilder::new(fields, builders)).with_field(item)
}

fn append_source(sources: &mut StructBuilder, source: &Src<'_>) {
    let texts = [(0, source.name), (1, source.dtype), (5, source.memory), (6, source.place)];
    for (i, text) in texts {
        field::<StringBuilder>(sources, i).append_value(text);
    }
    append_shape(field(sources, 2), &source.shape);
    field::<UInt64Builder>(sources, 3).append_value(source.bytes);
    field::<UInt32Builder>(sources, 4).append_option(source.layer);
    field::<UInt64Builder>(sources, 7).append_value(source.start);
    sources.append(true);
}

fn field<B: ArrayBuilder>(sources: &mut StructBuilder, i: usize) -> &mut B {
    sources.field_builder(i).expect("the builder that `sources` made")
}

impl Columns {
    fn append(&mut self, row: &Row<'_>) {
        self.eval.append_value(row.eval);
        self.seq.append_value(row.seq);
        self.graph.append_value(row.graph);
        self.context.append_value(row.context);
        self.thread.append_value(row.thread);
        self.token.append_option(row.token);
        self.token_id.append_option(row.token_id);
        self.token_text.append_option(row.token_text);
        self.pos.append_option(row.pos);
        self.n_tokens.append_value(row.n_tokens);
        self.phase.append_option(row.phase);
        self.request.append_option(row.request);
        self.node.append_value(row.node);
        self.op.append_value(row.op);
        self.name.append_value(row.name);
        self.layer.append_option(row.layer);
        self.node_type.append_value(row.node_type);
        self.device.append_option(row.device);
        self.t_ns.append_value(row.t_ns);
        self.dur_ns.append_option(row.dur_ns);
        self.fused_into.append_option(row.fused_into);
        self.run.append_option(row.run);
        self.run_dur_ns.append_option(row.run_dur_ns);
        self.dst_type.append_value(row.dst_type);
        append_shape(&mut self.dst_shape, &row.dst_shape);
        self.dst_bytes.append_value(row.dst_bytes);
        self.dst_buffer.append_option(row.dst_buffer);
        self.dst_addr.append_value(row.dst_addr);
        self.experts.append_option(row.experts.map(|ids| ids.iter().map(|&id| Some(id))));
        row.src.iter().for_each(|source| append_source(self.src.values(), source));
        self.src.append(true);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{HOSTILE, answer, dumped, exported, hostile};
    use super::super::{ExportOptions, Format};
    use super::*;
    use bytes::Bytes;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field as Cell;
    use serde_json::Value;

    /// The file through the reader of rows, which knows nothing of Arrow.
    fn reader(trace: &Trace, tokens: Option<&str>) -> SerializedFileReader<Bytes> {
        let tokens = tokens.map(|text| text.parse().unwrap());
        let bytes = exported(
            trace,
            ExportOptions { format: Format::Parquet, tokens, layers: None, graph: None, context: None },
        );
        SerializedFileReader::new(Bytes::from(bytes)).unwrap()
    }

    fn read(trace: &Trace, tokens: Option<&str>) -> Vec<Value> {
        let reader = reader(trace, tokens);
        let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
        rows.map(|row| row.get_column_iter().map(|(name, value)| (name.clone(), json(value))).collect()).collect()
    }

    fn json(value: &Cell) -> Value {
        match value {
            Cell::Null => Value::Null,
            Cell::Int(n) => (*n).into(),
            Cell::Long(n) => (*n).into(),
            Cell::UInt(n) => (*n).into(),
            Cell::ULong(n) => (*n).into(),
            Cell::Str(text) => text.as_str().into(),
            Cell::ListInternal(list) => list.elements().iter().map(json).collect(),
            Cell::Group(row) => row.get_column_iter().map(|(name, value)| (name.clone(), json(value))).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_row_says_what_dump_says() {
        let (_dir, trace) = answer();
        let (rows, all) = (read(&trace, None), dumped(&trace, &Filter::default()));
        assert_eq!(rows.len(), all.len());
        for (row, operator) in rows.iter().zip(&all) {
            for same in [
                "eval", "seq", "graph", "token", "phase", "request", "node", "op", "name", "layer", "t_ns", "dur_ns",
                "device",
            ] {
                assert_eq!(row[same], operator[same], "{same} of {operator}");
            }
            let sources = operator["src"].as_array().unwrap();
            assert_eq!(row["src"].as_array().unwrap().len(), sources.len());
            for (src, source) in row["src"].as_array().unwrap().iter().zip(sources) {
                assert_eq!((&src["name"], &src["type"]), (&source["name"], &source["type"]));
                assert_eq!((&src["bytes"], &src["shape"]), (&source["bytes"], &source["ne"]));
                assert_eq!(&src["start"], source.get("offset").unwrap_or(&source["addr"]));
            }
        }
    }

    #[test]
    fn the_file_says_what_it_is_of() {
        let (_dir, trace) = answer();
        let reader = reader(&trace, None);
        let facts = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
        let told = facts.iter().find(|f| f.key == "ggscope.info").and_then(|f| f.value.as_deref()).unwrap();
        assert_eq!(told, serde_json::to_string(&info(&trace, None)).unwrap());
    }

    #[test]
    fn no_row_is_a_file_with_its_columns_all_the_same() {
        let (_dir, trace) = answer();
        let reader = reader(&trace, Some("999"));
        let file = reader.metadata().file_metadata();
        assert_eq!((file.num_rows(), file.schema().get_fields().len()), (0, 30));
    }

    #[test]
    fn hostile_names_come_back_as_they_were() {
        let (_dir, trace) = hostile();
        let rows = read(&trace, None);
        assert_eq!(rows.iter().map(|r| r["name"].as_str().unwrap()).collect::<Vec<_>>(), HOSTILE);
        assert_eq!((&rows[0]["src"][1]["place"], &rows[0]["token_text"]), (&HOSTILE[2].into(), &HOSTILE[3].into()));
    }
}
