"""What a browser's app on another origin must be let send and read; the project's CORS settings name these."""

__all__ = ["EXPOSED_HEADERS", "REQUEST_HEADERS"]

#: Headers of answers that scripts have to read.
EXPOSED_HEADERS = (
    "Location",
    "Retry-After",
    "Syncreset-Recovery",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Offset",
    "WWW-Authenticate",
)

#: Headers of requests, beside those that django-cors-headers allows by itself.
REQUEST_HEADERS = (
    "content-encoding",
    "syncreset-protocol",
    "tus-resumable",
    "upload-checksum",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
)
