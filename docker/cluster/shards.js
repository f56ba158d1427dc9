// A script for mongosh. It makes three replica sets of running mongods. Two of them become the shards
// of one cluster. The collections that grow with the number of images are sharded by hashed id. Every
// write of maskline names a document by its id, and so goes to one shard. No index is unique but that
// of the ids.

const SETS = {
  config: ["config-1:27017", "config-2:27017", "config-3:27017"],
  "shard-a": ["shard-a-1:27017", "shard-a-2:27017", "shard-a-3:27017"],
  "shard-b": ["shard-b-1:27017", "shard-b-2:27017", "shard-b-3:27017"],
};
const SHARDED = ["images", "candidates", "claims"];

const ALREADY_INITIALIZED = 23;

function initiate(name, hosts) {
  const admin = new Mongo(`mongodb://${hosts[0]}/?directConnection=true`).getDB("admin");
  const members = hosts.map((host, _id) => ({ _id, host }));
  try {
    admin.adminCommand({
      replSetInitiate: { _id: name, members, ...(name === "config" && { configsvr: true }) },
    });
  } catch (error) {
    if (error.code !== ALREADY_INITIALIZED) throw error;
  }
  // A connection to the whole set succeeds when the set has a primary.
  new Mongo(`mongodb://${hosts.join(",")}/?replicaSet=${name}&serverSelectionTimeoutMS=60000`)
    .getDB("admin")
    .adminCommand({ ping: 1 });
}

for (const [name, hosts] of Object.entries(SETS)) initiate(name, hosts);

const cluster = new Mongo("mongodb://mongodb:27017/?serverSelectionTimeoutMS=60000").getDB("admin");
for (const [name, hosts] of Object.entries(SETS)) {
  if (name !== "config") cluster.adminCommand({ addShard: `${name}/${hosts.join(",")}` });
}
for (const collection of SHARDED) {
  cluster.adminCommand({ shardCollection: `maskline.${collection}`, key: { _id: "hashed" } });
}
print("two shards, and the collections are spread over them");
