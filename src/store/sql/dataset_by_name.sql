SELECT * FROM datasets WHERE name = $1
