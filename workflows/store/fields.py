"""Fields of stored documents that a query finds without reading the documents."""

#: The label of the job that makes the last document of a study (``metadata.label``).
SUMMARY = "summary"
#: The archive that a document was imported from; None for one that was computed here.
IMPORTED_FROM = "metadata.imported.archive_sha256"
JOB_FIELDS = (
    "uuid",
    "index",
    "name",
    "metadata.study",
    "metadata.study_hash",
    "metadata.kind",
    "metadata.label",
    "output.fingerprint",
    "output.doc_type",
    "output.crystal",
    "output.engine.name",
    "output.card.name",
    "output.converged",
    "completed_at",
    IMPORTED_FROM,
)
DATA_FIELDS = ("blob_uuid", "job_uuid", "job_index")
