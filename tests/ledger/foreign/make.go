//go:build ignore

// Makes a transparency log with Go's own implementation, golang.org/x/mod/sumdb/{tlog,note}, in the layout of C2SP
// tlog-tiles. See README.md.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	size   = 600
	older  = 400
	height = 8
	name   = "go.example/log"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func write(path string, data []byte) {
	check(os.MkdirAll(filepath.Dir(path), 0o755))
	check(os.WriteFile(path, data, 0o644))
}

// signer has the signing key that follows from the name, so that the files are the same each time they are made.
func signer(name string) (note.Signer, string) {
	seed := sha256.Sum256([]byte(name))
	private := ed25519.NewKeyFromSeed(seed[:])
	vkey, err := note.NewEd25519VerifierKey(name, private.Public().(ed25519.PublicKey))
	check(err)
	hash := strings.SplitN(vkey, "+", 3)[1]
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...))
	made, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + secret)
	check(err)
	return made, vkey
}

// isEdge tells whether a partial tile is one of the tree of that size.
func isEdge(tile tlog.Tile, size int) bool {
	return size>>(height*tile.L) == int(tile.N)<<height+tile.W
}

func main() {
	out := os.Args[1]
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var found []tlog.Hash
		for _, i := range indexes {
			found = append(found, hashes[i])
		}
		return found, nil
	})
	var entries [][]byte
	for i := int64(0); i < size; i++ {
		entry := []byte(fmt.Sprintf("record %d\n", i))
		if i == 300 {
			entry = nil // an entry may be empty
		}
		entries = append(entries, entry)
		more, err := tlog.StoredHashes(i, entry, reader)
		check(err)
		hashes = append(hashes, more...)
	}
	for _, tile := range tlog.NewTiles(height, 0, size) {
		if tile.W < 1<<height && !isEdge(tile, older) && !isEdge(tile, size) {
			continue // a partial tile of a tree that has no checkpoint
		}
		data, err := tlog.ReadTileData(tile, reader)
		check(err)
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		write(filepath.Join(out, path), data)
		if tile.L > 0 {
			continue
		}
		var bundle []byte
		first := tile.N << height
		for _, entry := range entries[first : first+int64(tile.W)] {
			bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
		}
		write(filepath.Join(out, strings.Replace(path, "tile/0/", "tile/entries/", 1)), bundle)
	}
	log, vkey := signer(name)
	other, _ := signer("other.example/witness")
	sign := func(file, origin string, size int64, extension string, signers ...note.Signer) {
		root, err := tlog.TreeHash(size, reader)
		check(err)
		text := fmt.Sprintf("%s\n%d\n%s\n%s", origin, size, root, extension)
		signed, err := note.Sign(&note.Note{Text: text}, signers...)
		check(err)
		write(filepath.Join(out, file), signed)
	}
	sign("checkpoint", name, size, "", log)
	sign("checkpoint.extended", name, size, "timestamp 1700000000\nan extension line\n", other, log)
	sign("checkpoint.other-origin", "a tree - 1193050959916656506", size, "", log)
	sign("checkpoint.400", name, older, "", log)
	root, err := tlog.TreeHash(size, reader)
	check(err)
	record, err := tlog.ProveRecord(size, 300, reader)
	check(err)
	tree, err := tlog.ProveTree(size, older, reader)
	check(err)
	facts, err := json.MarshalIndent(map[string]any{
		"vkey": vkey, "size": size, "root": root, "inclusion of 300": record, "consistency of 400": tree,
	}, "", "  ")
	check(err)
	write(filepath.Join(out, "facts.json"), append(facts, '\n'))
}
