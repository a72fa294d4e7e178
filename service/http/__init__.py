"""HTTP's grammar: headers, queries, content negotiation, multipart, npy and problem documents. Knows no model."""
