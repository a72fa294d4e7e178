"""HTTP without models: headers, queries, content negotiation, multipart, npy and problem documents."""
