// Command s3 is an object store that speaks S3 and forgets everything when it ends. It prints its address.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	store := gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true))
	log.Fatal(http.Serve(listener, store.Server()))
}
