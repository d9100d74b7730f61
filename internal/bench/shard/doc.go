// Package shard measures one shard of the hub by itself: how many signals its loop takes, and what it allocates for each.
//
// The way of a signal: a turn of 32 of them is given to a [hub.Core], which is the loop of a shard without goroutines; it
// decides, hands its batch to a store, and answers. The answer of the archive is given to the next turn. There is no network
// and no API. Two stores: one that keeps nothing but the head, so that the shard alone is measured, and the hub's own with an
// etcd in this process. Each at three sizes of what the shard has in memory.
//
// The floor of the shard alone hashes the payload and keeps the signal under its key in a map; that of the store puts the same
// bytes and a head with one comparison.
//
// It must not be imported by anything but bench. It starts no goroutines.
package shard
