// Command etcd is the etcd server. The module that holds it cannot be installed by itself, so this calls its entry point.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
