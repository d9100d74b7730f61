// Package zaplog lets etcd, client and server, log through log/slog.
//
// The way of a record: etcd writes it to the zap logger that [New] made; warnings and worse become warnings of the slog
// logger with the text as an attribute; everything else is dropped.
//
// It imports nothing of ours and starts no goroutine.
package zaplog
