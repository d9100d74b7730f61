// Member is one member of an etcd cluster that package etcdtest starts:
//
//	go build -o bin/etcd-member ./internal/etcdtest/cmd/member
package main

import (
	"fmt"
	"os"

	"github.com/nave-dev/nave/internal/etcdtest"
	"github.com/nave-dev/nave/internal/etcdtest/member"
)

func main() {
	member.Main()
	fmt.Fprintln(os.Stderr, "etcd member: there is no", etcdtest.MemberEnv, "in the environment; package etcdtest starts this program")
	os.Exit(2)
}
