-- For psql, as a superuser of the database: the table that selcgi-dbd.conf asks, and Apache's own role, which may do
-- nothing but read it. Whoever may write udomain chooses for others what their scripts may do.
CREATE TABLE accounts (
    name text PRIMARY KEY,
    password text NOT NULL,  -- as htpasswd -nB prints it, behind the colon
    udomain text             -- a context as in selcgi.map(5): domain, domain:range, deny; NULL: selcgi asks its next --map
);
CREATE ROLE apache LOGIN PASSWORD :'password';
GRANT SELECT ON accounts TO apache;
