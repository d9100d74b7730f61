// Package member is one member of an etcd cluster of tests.
//
// The way of a datum: the process finds its [etcdtest.Member] in the environment, [Main] runs etcd as it says, with etcd's
// own limits, until the process is asked to end.
//
// It links the etcd server: only test binaries and cmd/member may import it. Its goroutines belong to etcd.
package member
